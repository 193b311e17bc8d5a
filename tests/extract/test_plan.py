import json
import logging
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import pytest

from losa.cache_format import LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.stores import StoreName
from losa.extract import extract
from losa.extract.plan import HEADROOM, Plan
from losa.extract.probe import Speeds


@pytest.fixture
def plans(monkeypatch):
    """Every plan that is made."""
    made = []
    plan_of = Plan.of

    def recording(*arguments):
        made.append(plan_of(*arguments))
        return made[-1]

    monkeypatch.setattr(Plan, "of", recording)
    return made


@pytest.fixture
def free(monkeypatch):
    """``free(bytes)``: pretend that so many are free."""

    def pretend(count):
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=count, f_frsize=1))

    return pretend


def _written(cache):
    """Bytes of the files with codes and scales."""
    names = ("codes/c.*", "scales/c.*", "shard.*.h5")
    return sum(path.stat().st_size for name in names for path in cache.glob(f"arrays.*/segments/*/{name}"))


@pytest.mark.parametrize("store", get_args(StoreName))
@pytest.mark.parametrize("codec", get_args(CodecName))
def test_the_bytes_that_are_written_were_predicted(codec, store, config, plans, tmp_path):
    # 7 and 7 images in shards of 4: the last shards are not full.
    settings = config(codec=codec, store=store, splits=["val200", "test"], limit=7)
    extract(settings)
    (plan,) = plans
    assert plan.bytes == _written(tmp_path / "cache")
    assert (plan.images, plan.shards, plan.finished_shards) == (14, 4, 0)
    token = {"float32": 256, "float16": 128, "bfloat16": 128, "int8": 64 + 4, "int4": 32 + 2 * 2}[codec]
    assert plan.image_bytes == 3 * 101 * token
    extract(settings)
    assert (plans[1].images, plans[1].bytes, plans[1].finished_shards) == (0, 0, 4)


def test_only_what_is_missing_is_counted(config, plans, tmp_path):
    extract(config())
    written = _written(tmp_path / "cache")
    (tmp_path / "cache/arrays.zarr/segments/train800/codes/commit.1.json").unlink()
    extract(config())
    assert (plans[1].images, plans[1].shards, plans[1].finished_shards) == (4, 1, 2)
    assert plans[1].bytes < written / 2
    assert "4 to extract in 1 shard (2 shards are finished)" in str(plans[1])


def test_the_plan_in_words(config, plans, free):
    free(2_500_000_000)
    extract(config())
    lines = str(plans[0]).splitlines()
    assert lines[:2] == ["images  10 to extract in 3 shards", "sites   3, 20,604 bytes an image"]
    assert lines[2].startswith("bytes   209.3 kB, 2.5 GB free at ")
    assert lines[2].endswith("/cache")
    assert len(lines) == 3  # too little to be worth a trial


def _planned(plan, **changes):
    speeds = Speeds(
        images_per_s=40.0,
        start_seconds=1.5,
        bottleneck="backbone",
        write_bytes_per_s=1e9,
        read_bytes_per_s=1e8,
    )
    return replace(plan, images=1000, calibration_images=128, speeds=replace(speeds, **changes))


def test_the_time_is_that_of_the_slowest_stage(config, plans):
    extract(config())
    assert plans[0].seconds is None
    assert _planned(plans[0]).seconds == pytest.approx(2 * 1.5 + 128 / 40 + 1000 / 40)
    slow_disk = _planned(plans[0], write_bytes_per_s=2.0 * plans[0].image_bytes)
    assert slow_disk.seconds == pytest.approx(2 * 1.5 + 128 / 40 + 1000 / 2)
    bucket = _planned(plans[0], write_bytes_per_s=None, read_bytes_per_s=None)
    assert bucket.seconds == _planned(plans[0]).seconds
    assert bucket.break_even is None
    stored = replace(_planned(plans[0]), calibration_images=0)
    assert stored.seconds == pytest.approx(1.5 + 1000 / 40)


def test_time_and_break_even_in_words(config, plans):
    extract(config())
    assert str(_planned(plans[0])).splitlines()[3:] == [
        "time        about 31 s: 40 images/s, limited by the backbone",
        "break-even  faster than the backbone if read at 824.2 kB/s or more; this disk reads 100.0 MB/s, so "
        "it has paid for itself after 2 passes",
    ]
    fast = _planned(plans[0], images_per_s=20_000.0, bottleneck="decoding")
    assert str(fast).splitlines()[3:] == [
        "time        about 3 s: 20,000 images/s, limited by decoding",
        "break-even  faster than the backbone if read at 412.1 MB/s or more; this disk reads 100.0 MB/s, "
        "so it pays only if 5 or more side networks share each pass, or if it stays in memory. Fewer sites "
        "(sites=4) or codec=int8 are read faster",
    ]


def test_the_plan_as_json(config, plans):
    extract(config())
    found = json.loads(json.dumps(_planned(plans[0], images_per_s=20_000.0).as_json()))
    assert (found["images"], found["shards"], found["bytes_per_image"]) == (1000, 3, 20_604)
    assert found["break_even"] == {"read_bytes_per_s": 412_080_000, "members": 5, "passes": None}
    without = plans[0].as_json()
    assert [without[name] for name in ("seconds", "images_per_s", "break_even")] == [None] * 3


def test_a_plan_alone_is_always_tried_out(config, plans, caplog):
    caplog.set_level(logging.INFO)
    plan = extract(config(plan=True)).plan
    assert plan.speeds.images_per_s > 0
    assert plan.calibration_images == 10
    assert "images/s, limited by" in caplog.text
    for name in ("write_bytes_per_s", "read_bytes_per_s"):
        assert getattr(plan.speeds, name) > 0


@pytest.mark.parametrize("plan", [True, False])
def test_a_cache_that_does_not_fit_is_refused(config, plans, free, tmp_path, plan):
    free(100_000)
    with pytest.raises(LosaError) as caught:
        extract(config(plan=plan))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/cache: the cache needs another 209.3 kB, but only 100.0 kB are free.")
    for way_out in ("sites=4", "codec=int8", "fewer splits", "limit="):
        assert way_out in text
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_just_fits_is_written(config, plans, free):
    free(1_000_000)
    extract(config())
    shutil.rmtree(plans[0].cache)
    just_enough = int(plans[0].bytes * HEADROOM) + 1
    free(just_enough)
    free(just_enough - 2)
    with pytest.raises(LosaError, match="needs"):
        extract(config())
    free(just_enough)
    assert extract(config()).finished


@pytest.mark.parametrize("store", get_args(StoreName))
def test_with_a_compressor_no_more_is_written_than_planned(config, plans, tmp_path, store):
    extract(config(store=store, compressor="zstd"))
    written = _written(tmp_path / "cache")
    assert 0 < written <= plans[0].bytes < 2 * written
