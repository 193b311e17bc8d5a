"""Two tiny data sets, and settings and rows of studies of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from losa.adapt import AdaptConfig, MemberSummary
from losa.pipelines.bench.study.rows import StudyRow
from losa.pipelines.bench.study.settings import StudySettings


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dusk` and `noon`: dark and bright images that are hard to tell apart."""
    root = tmp_path_factory.mktemp("sets")
    for number, name in enumerate(("dusk", "noon")):
        rng = np.random.default_rng(number)
        lists: dict[str, list[str]] = {}
        for split, count in (("train800", 8), ("val200", 6), ("test", 10)):
            lists[split] = [f"{split}-{image}.png {image % 2}\n" for image in range(count)]
            for line in lists[split]:
                path, label = line.split()
                (root / name).mkdir(exist_ok=True)
                pixels = rng.integers(0, 240, (12, 12, 3)) + 8 * int(label)
                Image.fromarray(pixels.astype(np.uint8)).save(root / name / path)
        lists["train800val200"] = lists["train800"] + lists["val200"]
        for split, lines in lists.items():
            (root / name / f"{split}.txt").write_text("".join(lines))
    return root


@pytest.fixture
def settings(sets: Path, tmp_path: Path) -> Callable[..., StudySettings]:
    """``settings(**others)``: a study of `dusk` with an untrained backbone of two sites."""

    def make(**others: Any) -> StudySettings:
        options: dict[str, Any] = {
            "data": [str(sets)],
            "sets": ["dusk"],
            "backbone": "test_vit",
            "pretrained": False,
            "out": str(tmp_path / "study"),
            "sides": ["losa"],
            "seeds": 2,
            "overrides": ["epochs=1"],
            "workers": 0,
        }
        return StudySettings(**(options | others))

    return make


@pytest.fixture
def row(make_summary: Callable[..., MemberSummary]) -> Callable[..., StudyRow]:
    """``row(accuracy, set=..., side=..., variant=..., **options)``: failed if the accuracy is None."""

    def make(
        accuracy: float | None,
        *,
        set: str = "dusk",
        side: str = "losa",
        variant: str = "fixed",
        **options: Any,
    ) -> StudyRow:
        config = AdaptConfig(cache=set, side=side, **options)
        failed = accuracy is None
        outcome = ValueError("it\ndiverged") if failed else make_summary(config, accuracy={"test": accuracy})
        return StudyRow(set=set, side=side, variant=variant, config=config, outcome=outcome)

    return make
