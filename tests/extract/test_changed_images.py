from itertools import pairwise

import pytest

from losa.cache_format import Cache, IdentityMismatch, LosaError
from losa.cache_format.contents import Placement
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.survey import Survey
from losa.extract import extract, open_source
from losa.extract.changed_images import RECHECKED_IMAGES, refuse_changed_images


@pytest.fixture
def opened(config, tmp_path, paint):
    """50 images in 13 shards: ``opened()`` checks them and returns the keys that were loaded."""
    for number in range(50):
        paint(tmp_path / f"many/cat/{number:02d}.png", number, (10, 10))
    settings = config(
        dataset={"kind": "folder", "root": str(tmp_path / "many")}, codec="float16", batch_size=50, sites=1
    )
    extract(settings)

    def opened(known=None):
        source = open_source(settings.dataset)
        loaded, read = [], source.read
        source.read = lambda key: loaded.append(key) or read(key)
        keys = source.contents("all").keys
        nothing = Placement(segments=(), indices={})
        metadata = Cache(settings.cache).metadata
        surveyed = Survey(
            metadata=metadata,
            published=metadata.manifest,
            placement=nothing,
            restored=nothing,
            damaged={},
            segments=frozenset(),
        )
        refuse_changed_images(
            surveyed, CommitRecords.read(surveyed.metadata), source, set(keys if known is None else known)
        )
        return [int(key.removeprefix("cat/").removesuffix(".png")) for key in loaded]

    return opened


def _commits(tmp_path):
    folder = tmp_path / "cache/arrays.zarr/segments/all/codes"
    return {shard: folder / f"commit.{shard}.json" for shard in range(13)}


def test_images_from_the_whole_segment_are_looked_at(opened):
    rows = opened()
    assert len(rows) == RECHECKED_IMAGES == 8
    assert rows == sorted(set(rows))
    assert (rows[0], rows[-1]) == (0, 49)
    gaps = [b - a for a, b in pairwise(rows)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("row", [0, 49])
def test_a_change_at_either_end_is_seen(opened, tmp_path, paint, row):
    paint(tmp_path / f"many/cat/{row:02d}.png", 999, (10, 10))
    with pytest.raises(IdentityMismatch, match=f"blake2b of image cat/{row:02d}"):
        opened()


def test_the_row_is_looked_up_in_its_own_shard(opened, tmp_path, paint):
    middle = opened()[4]
    paint(tmp_path / f"many/cat/{middle:02d}.png", 999, (10, 10))
    with pytest.raises(IdentityMismatch, match=f"blake2b of image cat/{middle:02d}"):
        opened()


def test_uncommitted_and_damaged_shards_are_passed_over(opened, tmp_path):
    commits = _commits(tmp_path)
    for shard in (0, 1, 2, 12):
        commits[shard].unlink()
    rows = opened()
    assert (len(rows), rows[0], rows[-1]) == (8, 12, 47)
    commits[3].write_bytes(b"{}")
    rows = opened()
    assert (len(rows), rows[0], rows[-1]) == (8, 16, 47)
    for commit in commits.values():
        commit.unlink(missing_ok=True)
    assert opened() == []


def test_images_that_are_not_listed_now_are_left_out(opened):
    assert opened(known=["cat/07.png", "cat/31.png"]) == [7, 31]
    assert opened(known=["cat/07.png"]) == [7]
    assert opened(known=[]) == []


def test_an_error_of_the_machine_is_no_changed_image(opened, tmp_path):
    path = tmp_path / "many/cat/00.png"
    path.unlink()
    path.mkdir()
    with pytest.raises(LosaError, match=r"cat/00\.png: Is a directory"):
        opened(known=["cat/00.png"])
