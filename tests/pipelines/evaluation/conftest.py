"""Side networks for digits, and the digits in caches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LabelColumn
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract
from losa.extract.pixels import DEFAULT_DECODING
from losa.pipelines.evaluation.config import EvaluateConfig

IMAGES = 24


@pytest.fixture(scope="session")
def sweep(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three side networks, whose heads are random."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    column = LabelColumn(name="label", num_classes=10, classes=tuple("0123456789"))
    for side in ("linear", "losa", "last"):
        make_run(folder / side, side, columns=(column,), decoding=DEFAULT_DECODING)
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``digits(codec, **options)``: a cache of the first digits of the test split."""
    folder = tmp_path_factory.mktemp("caches")

    def make(codec: str, **options: Any) -> Path:
        cache = folder / "-".join([codec, *options])
        config = ExtractConfig(
            dataset=DatasetConfig(kind="digits", name="digits"),
            backbone=BackboneConfig(name="test_vit", pretrained=False),
            cache=str(cache),
            splits=["test"],
            limit=IMAGES,
            codec=codec,
            workers=0,
            device="cpu",
            **({"sites": 2} | options),
        )
        extract(config)
        return cache

    return make


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., EvaluateConfig]:
    """``configured(**options)``: options with an output folder; digits, or a cache."""

    def make(**options: Any) -> EvaluateConfig:
        defaults: dict[str, Any] = {
            "out": str(tmp_path / "out"),
            "device": "cpu",
            "batch_size": 5,
            "workers": 0,
        }
        if "cache" not in options:
            defaults |= {"dataset": DatasetConfig(kind="digits", name="digits"), "limit": IMAGES}
        return EvaluateConfig(**(defaults | options))

    return make
