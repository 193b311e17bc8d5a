from pathlib import Path

import pytest
from PIL import Image

from losa.cache_format import LosaError
from losa.pipelines.bench.evaluation import EvaluationBenchmark


@pytest.mark.parametrize("photographs", [False, True])
def test_both_are_timed(photographs: bool, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    benchmark = EvaluationBenchmark(
        backbone="test_vit",
        sites=1,
        sides=("linear", "losa"),
        ranks=(2,),
        seeds=1,
        folder=str(tmp_path) if photographs else None,
        images=3,
        batch=2,
        rounds=1,
    )
    bare, judged = benchmark.run()
    assert (bare["method"], bare["ratio_to_backbone"], judged["method"]) == ("backbone", 1.0, "evaluate 2")
    assert judged["images_per_s"] > 0


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(LosaError, match="did you mean 'losa'"):
        EvaluationBenchmark(sides=("lsoa",))
