import os
from types import SimpleNamespace
from typing import get_args

import pytest

from losa.cache_format import LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.stores import StoreName
from losa.extract import extract
from losa.extract.plan import HEADROOM, Plan


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
    assert "4 images to extract in 1 shards (2 shards are finished)" in str(plans[1])


def test_the_plan_in_words(config, plans, free):
    free(2_500_000_000)
    extract(config(plan=True))
    lines = str(plans[0]).splitlines()
    assert lines[0] == "10 images to extract in 3 shards"
    assert lines[1].startswith("3 sites, 20,604 bytes an image, 209.3 kB in all, 2.5 GB free at ")
    assert lines[1].endswith("/cache")


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
    extract(config(plan=True))
    just_enough = int(plans[0].bytes * HEADROOM) + 1
    free(just_enough)
    assert extract(config(plan=True)).images == 0
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
