"""Caches of clips in the hands of losa-cache."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.cache_format import Cache
from losa.cache_format.verification import verify
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract
from losa.pipelines.cache.convert import Conversion
from losa.pipelines.cache.info import describe
from losa.pipelines.cache.merge import merge_caches

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.fixture
def settings(film: Any, tmp_path: Path) -> ExtractConfig:
    for number in range(4):
        film(tmp_path / f"videos/train/run/{number}.mp4", seed=3 * number, size=(64, 64))
    return ExtractConfig(
        dataset=DatasetConfig(kind="folder", name="toy", media="videos", root=str(tmp_path / "videos")),
        backbone=BackboneConfig(name="test_vit", pretrained=False),
        cache=str(tmp_path / "whole"),
        frames=3,
        clips=2,
        sites=3,
        codec="float16",
        rows_per_shard=2,
        workers=0,
        device="cpu",
    )


def decoded(cache: Cache) -> np.ndarray:
    (record,) = cache.manifest.splits
    split = cache.split(record.name)
    return cache.codec(split.sites).decode(split.read(np.arange(len(split))))


def test_parts_are_merged(settings: ExtractConfig, tmp_path: Path) -> None:
    extract(settings)
    parts = []
    for number in (1, 2):
        part = replace(settings, cache=str(tmp_path / f"part{number}"), part=f"{number}/2")
        parts.append(Cache(extract(part).cache))
    done = merge_caches(parts, tmp_path / "merged", quiet)
    assert (done.copied, done.missing) == (4, 0)
    whole, merged = Cache(tmp_path / "whole"), Cache(tmp_path / "merged")
    assert np.array_equal(decoded(whole), decoded(merged))
    assert merged.manifest.features == whole.manifest.features


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_clips_are_recoded_into_another_store(settings: ExtractConfig, tmp_path: Path, codec: Any) -> None:
    source = Cache(extract(settings).cache)
    Conversion(store="hdf5", codec=codec, sites=1).run(source, tmp_path / "small", quiet)
    small = Cache(tmp_path / "small")
    assert verify(small.path).ok
    assert (small.manifest.features.group.tokens.frames, len(small.sites)) == (3, 1)
    found, expected = decoded(small), decoded(source)[:, -1:]
    noise = ((found - expected) ** 2).sum() / (expected**2).sum()
    assert -10 * np.log10(noise) > {"int8": 35, "int4": 15}[codec]


def test_frames_are_told(settings: ExtractConfig) -> None:
    told = describe(Cache(extract(settings).cache))
    assert (told["frames"], told["tokens"]) == (3, 303)
    assert told["preprocessing"]["sampling"] == {"version": 1, "frames": 3, "stride": None}
