import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.video.plan import VideoPlan, render_plan
from losa.pipelines.bench.video.shapes import SHAPES


def test_shapes_are_of_the_published_sizes():
    assert SHAPES["vit-e"].parameters == pytest.approx(3.9e9, rel=0.05)
    assert SHAPES["vit-g"].parameters == pytest.approx(1.0e9, rel=0.05)
    assert SHAPES["vit-b"].parameters == pytest.approx(85e6, rel=0.01)
    # Of a ViT-B/16: 197 tokens need 17.6 GFLOP as multiplications and additions, or 35.2 as operations.
    assert SHAPES["vit-b"].frame_flops * 197 / 256 == pytest.approx(35.2e9, rel=0.03)


def test_bytes_and_hours_are_what_they_say():
    plan = VideoPlan(
        backbone="vit-b", videos=1000, clips=2, frames=4, sites=[2], codecs=["int8"], grids=[4], tflops=1.0
    )
    (row,) = plan.rows()
    assert row["clip_bytes"] == 2 * 4 * 16 * (768 + 4)
    assert row["bytes"] == 2000 * row["clip_bytes"]
    seconds = 2000 * 4 * SHAPES["vit-b"].frame_flops / 1e12
    assert row["hours"]["1"] == pytest.approx(seconds / 3600)
    assert row["hours"]["64"] == pytest.approx(seconds / 3600 / 64)
    assert row["read_bytes_per_s_needed"] == pytest.approx(row["bytes"] / seconds)
    assert (row["members"], row["passes"]) == (1, 2)


def test_a_slow_disk_needs_company():
    plan = VideoPlan(backbone="vit-b", sites=[12], codecs=["int8"], grids=[16], read_gigabytes=0.5)
    (row,) = plan.rows()
    assert row["members"] > 1
    assert row["read_bytes_per_s_needed"] > 0.5e9
    assert f"{row['members']}" in str(render_plan([row], plan).columns[-2]._cells)


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(LosaError, match="--grid 5: expected a divisor of 16, the grid of vit-e"):
        VideoPlan(grids=[5]).rows()
    with pytest.raises(LosaError, match="--site: expected 1 or more"):
        VideoPlan(sites=[0]).rows()
