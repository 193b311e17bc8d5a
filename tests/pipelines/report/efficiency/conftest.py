"""A data set, and measurements in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.measurements import Measurement
from losa.pipelines.report.efficiency.setting import Setting

SMALL = {"linear": 0.1, "losa": 0.5, "lora": 2.0, "full": 3.0}
"""Seconds of a step, by method."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes: ten to train on, four to score."""
    folder = tmp_path_factory.mktemp("data") / "leaves"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, images in (("train800val200", range(10)), ("test", range(10, 14))):
        for number in images:
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{number}.png")
        lines = [f"{number}.png {number % 2}\n" for number in images]
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def comparison(leaves: Path, tmp_path: Path) -> EfficiencyComparison:
    """A toy transformer, two side networks and a method."""
    return EfficiencyComparison(
        data=str(leaves),
        backbone="test_vit",
        out=str(tmp_path / "out"),
        pretrained=False,
        sides=["linear", "losa"],
        methods=["bitfit"],
        rank=2,
        epochs=3,
        batch=4,
        steps=2,
        device="cpu",
    )


@pytest.fixture
def setting(leaves: Path, tmp_path: Path) -> Callable[..., Setting]:
    """``setting(kind, method, **others)``: a measurement of a toy transformer."""

    def make(kind: Any, method: str, **others: Any) -> Setting:
        options: dict[str, Any] = {
            "data": str(leaves),
            "train_split": "train800val200",
            "cache": str(tmp_path / "cache"),
            "backbone": "test_vit",
            "checkpoint": None,
            "pretrained": False,
            "sites": "all",
            "codec": "int8",
            "rank": 2,
            "targets": ["qkv"],
            "batch": 4,
            "micro_batch": None,
            "steps": 2,
            "seconds": 60.0,
            "dtype": "float32",
            "device": "cpu",
            "threads": None,
        }
        return Setting(kind=kind, method=method, **{**options, **others})

    return make


@pytest.fixture
def measured(setting: Callable[..., Setting]) -> Callable[..., Measurement]:
    """``measured(kind, method, **others)``: a measurement with made-up figures, by `SMALL`."""

    def make(kind: str, method: str, note: str | None = None, **others: Any) -> Measurement:
        step = SMALL.get(method, 1.0)
        figures: dict[str, Any] = {}
        if kind == "extraction":
            figures = {"seconds": 5.0, "peak_bytes": 3_000_000, "cache_bytes": 2_000_000}
        else:
            figures = {"gflops": 2.5, "images_per_s": 80.0}
        if kind in ("cache", "live"):
            figures |= {
                "parameters": 1234,
                "head_parameters": 34,
                "step_seconds": [step, 9 * step, step],
                "step_images": 4,
                "micro_batch": 2 if kind == "cache" else 4,
                "peak_bytes": int(step * 1_000_000),
                "threads": 1,
            }
        if kind == "cache":
            figures["cache_bytes"] = 1_000_000
        return Measurement(
            setting=setting(kind, method, **others),
            figures=figures if note is None else {},
            note=note,
            failed=note is not None and not note.startswith("does not fit"),
        )

    return make
