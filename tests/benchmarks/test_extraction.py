"""The speed of extraction, and of its upper limit, the bare forward pass of timm on the same inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from losa.cache_format import Cache
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract

IMAGES, FEW_IMAGES = 256, 32
"""Images that are timed, and images of an ordinary test."""


def bare_forward(folder: Path, images: int) -> Callable[[], int]:
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False).eval()
    batch = torch.randn(32, 3, 224, 224)

    def run() -> int:
        with torch.inference_mode():
            return sum(len(model.forward_features(batch)) for _ in range(images // 32))

    return run


def pipeline(folder: Path, images: int) -> Callable[[], int]:
    rounds = iter(range(1_000_000))

    def run() -> int:
        config = ExtractConfig(
            dataset=DatasetConfig(kind="digits", name="digits"),
            backbone=BackboneConfig(name="vit_tiny_patch16_224", pretrained=False),
            cache=str(folder / f"cache{next(rounds)}"),
            splits=["train800"],
            limit=images,
            device="cpu",
        )
        return len(Cache(extract(config).cache).split("train800"))

    return run


@pytest.mark.parametrize("way", [bare_forward, pipeline], ids=lambda way: way.__name__)
def test_images(
    benchmark: BenchmarkFixture, tmp_path: Path, way: Callable[[Path, int], Callable[[], Any]]
) -> None:
    images = FEW_IMAGES if benchmark.disabled else IMAGES
    benchmark.group = f"{images} images through a ViT-Ti/16 (pipeline: decode, calibrate, encode int8, write)"
    assert benchmark.pedantic(way(tmp_path, images), rounds=3, warmup_rounds=1) == images
