import os

import pytest

from losa.cache_format import Segment
from losa.extract import probe
from losa.extract.extraction import Extractor
from losa.extract.probe import try_out

KEYS = [f"digit/{number}" for number in range(400)]
SEGMENT = Segment(name="t", number=0, images=400, keys_sha256="0" * 64, rows_per_shard=64, labels_sha256={})


@pytest.fixture
def tried(config, tmp_path, monkeypatch):
    """``tried(keys, **options)``: the speeds, and the batches of keys that were decoded."""

    def tried(keys, **options):
        forward = Extractor(config(codec=options.pop("codec", "int8"))).forward
        forward.workers = options.pop("workers", 0)
        batches, decode = [], forward.decode

        def recording(some):
            batches.append([list(batch) for batch in some])
            return decode(some)

        monkeypatch.setattr(forward, "decode", recording)
        given = {"batch_size": 2, "cache": tmp_path / "new" / "cache"} | options
        return try_out(forward, "int8", SEGMENT, keys, **given), batches

    return tried


@pytest.mark.parametrize(
    ("images", "thorough", "workers", "batches"),
    [
        (400, True, 0, 1 + 9),  # a twentieth is 10, the most are 9
        (400, False, 0, 1 + 9),
        (120, True, 0, 1 + 8),
        (120, False, 0, 1 + 3),
        (120, False, 2, 2 + 3),
        (5, True, 0, 3),
        (1, True, 0, 1),
    ],
)
def test_a_trial_is_a_small_part(tried, images, thorough, workers, batches):
    speeds, decoded = tried(KEYS[:images], thorough=thorough, workers=workers)
    sample, extracted = decoded
    assert sample == [extracted[0]]  # on which the codec is calibrated
    assert len(extracted) == batches
    flat = [key for batch in extracted for key in batch]
    assert len(set(flat)) == len(flat)
    assert images <= len(flat) or KEYS.index(flat[-1]) > images * 3 // 4
    assert speeds.images_per_s > 0
    assert speeds.start_seconds > 0


def test_a_trial_ends_in_time(tried, monkeypatch):
    monkeypatch.setattr(probe, "MOST_SECONDS", 0.0)
    speeds, _ = tried(KEYS)
    assert speeds.images_per_s > 0


def test_the_disk_is_left_as_it_was(tried, tmp_path):
    speeds, _ = tried(KEYS[:4])
    assert list(tmp_path.iterdir()) == []
    assert speeds.write_bytes_per_s > 0
    assert speeds.read_bytes_per_s > 0


def test_a_folder_that_cannot_be_written_to_is_left_to_the_extraction(tried, monkeypatch):
    def refused(_):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(os, "fsync", refused)
    speeds, _ = tried(KEYS[:4])
    assert speeds.write_bytes_per_s is None
    assert speeds.read_bytes_per_s is None
