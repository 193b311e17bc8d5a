"""losa-bench video on a tiny shape: its answers, not its figures."""

from dataclasses import replace

import pytest

from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training.working_set import peak_bytes
from losa.cache_format import LosaError
from losa.pipelines.bench.video import training
from losa.pipelines.bench.video.benchmark import VideoBenchmark, render_video
from losa.pipelines.bench.video.names import refuse_unknown
from losa.pipelines.bench.video.shapes import SHAPES, BackboneShape
from losa.pipelines.bench.video.training import Setting, measure

TINY = Setting(backbone="tiny", grid=4, frames=4, steps=1)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", BackboneShape(depth=8, width=32, hidden=64))


@pytest.mark.parametrize("side", ["losa", "last", "relay"])
@pytest.mark.parametrize("mixing", ["joint", "factorised"])
def test_a_step_is_timed_and_weighed(side, mixing):
    found = measure(replace(TINY, side=side, mixing=mixing, batch=2))
    assert len(found["seconds"]) == 1
    assert found["seconds"][0] > 0
    assert found["peak_bytes"] > 10**6
    assert found["parameters"] > 0


@pytest.mark.parametrize("axis", ["frames", "grid"])
def test_memory_grows_no_faster_than_clips(axis):
    """What a step holds, for clips of two and four times as many frames, or tokens along an edge."""
    held = []
    for factor in (1, 2, 4):
        setting = replace(TINY, **({"frames": 8, "grid": 8} | {axis: 8 * factor}))
        trainer, _ = training._trainer(setting)
        held.append(peak_bytes(lambda trainer=trainer: trainer.epoch(0), "cpu"))
    tokens = 4 if axis == "grid" else 2
    assert held[1] < tokens * 1.1 * held[0]
    assert held[2] < tokens * 1.1 * held[1]


def test_every_combination_is_a_row(forked_modules):
    small = replace(TINY, backbone="vit-b", grid=2, sites=1)
    rows = VideoBenchmark(setting=small, frames=[1, 2], grids=[2]).run()
    assert [(row["frames"], row["tokens"]) for row in rows] == [(1, 4), (2, 8)]
    assert all(row["seconds_per_step"] > 0 and row["peak_bytes"] > 10**8 for row in rows)
    assert len(render_video(rows).rows) == 2


def test_a_process_that_fails_is_told(forked_modules):
    broken = VideoBenchmark(setting=replace(TINY, backbone="none"))
    with pytest.raises(LosaError, match="a measurement failed: KeyError: 'none'"):
        broken.run()


def test_names_and_numbers_are_checked():
    with pytest.raises(LosaError, match="--backbone vit-x: expected one of vit-e, vit-g, vit-l, vit-b"):
        refuse_unknown(backbone="vit-x")
    with pytest.raises(LosaError, match=r"--side lsoa: expected one of .* did you mean 'losa'"):
        refuse_unknown(side=["losa", "lsoa"])
    refuse_unknown(side=list(SIDE_NETWORKS), mixing="joint", codec="int4", dtype="bfloat16")
    with pytest.raises(LosaError, match="--frames 0: expected 1 or more"):
        VideoBenchmark(setting=TINY, frames=[0])
