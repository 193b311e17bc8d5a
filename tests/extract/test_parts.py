import re

import pytest

from losa.cache_format import Segment
from losa.extract import extract
from losa.extract.parts import Part

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


def segments(*images):
    return [
        Segment(
            name=f"s{number}",
            number=number,
            images=count,
            keys_sha256="0" * 64,
            rows_per_shard=2,
            labels_sha256={},
        )
        for number, count in enumerate(images)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_parts_are_neighbours_of_nearly_equal_size(count):
    every = [(f"s{number}", shard) for number, shards in enumerate((4, 1, 3)) for shard in range(shards)]
    parts = [Part(number, count).shards(segments(7, 1, 6)) for number in range(1, count + 1)]
    assert [shard for part in parts for shard in part] == every
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/2/3", "a/b", "1.5/2"])
def test_what_is_no_part_is_refused(config, text):
    with pytest.raises(ValueError, match=f"part={text}: expected the number of a part .* such as 3/16"):
        config(part=text)


def test_a_part_is_planned_extracted_and_resumed_alone(config, tmp_path, caplog):
    caplog.set_level("INFO")
    cache = tmp_path / "cache"
    options = {"rows_per_shard": 2, "part": "2/3"}
    extract(config(**options, plan=True))
    assert not cache.exists()
    assert re.search(r"images +4 to extract in 2 shards\n", caplog.text)
    done = extract(config(**options))
    assert done.images == 4
    assert sorted(path.name for path in cache.rglob("commit.*.json")) == ["commit.1.json", "commit.2.json"]
    caplog.clear()
    assert extract(config(**options)).images == 0
    assert "images  0 to extract in 0 shards (2 shards are finished)" in caplog.text
    extract(config(rows_per_shard=2))  # the rest
    assert len(list(cache.rglob("commit.*.json"))) == 5
