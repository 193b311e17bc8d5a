"""The speed of reading and decoding images from a folder and from tar shards, without a backbone."""

import io
import resource
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torchvision.transforms.functional import pil_to_tensor

from losa.extract import DatasetConfig, ImageSource, open_source
from losa.extract.decoding import decode
from losa.extract.forward_pass import in_batches
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING

IMAGES, FEW_IMAGES = 10_000, 40
"""Images that are timed, and images of an ordinary test."""
SHARDS = 20
SIDE = 128
FLAT = 64 * 2**20
"""Bytes by which the memory may grow over all images."""


def photograph(seed: int) -> bytes:
    """A JPEG of 128 x 128 pixels that are as smooth as those of a photograph, about 4 KB."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def folder(root: Path, images: int) -> ImageSource:
    for number in range(images):
        file = root / f"folder/train/{number % 10}/{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photograph(number))
    return open_source(DatasetConfig(kind="folder", name="f", root=str(root / "folder")))


def webdataset(root: Path, images: int) -> ImageSource:
    (root / "shards").mkdir()
    for shard in range(SHARDS):
        with tarfile.open(root / f"shards/train-{shard:04}.tar", "w") as tar:
            for number in range(shard * images // SHARDS, (shard + 1) * images // SHARDS):
                members = {"jpg": photograph(number), "cls": str(number % 10).encode()}
                for field, content in members.items():
                    header = tarfile.TarInfo(f"{number:06}.{field}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
    config = DatasetConfig(
        kind="webdataset", name="w", root=str(root / "shards"), index_folder=str(root / "indices")
    )
    return open_source(config)


def peak_bytes() -> int:
    """The most memory that this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [folder, webdataset], ids=lambda make: make.__name__)
def test_decoding(
    benchmark: BenchmarkFixture, tmp_path: Path, make: Callable[[Path, int], ImageSource], workers: int
) -> None:
    images = FEW_IMAGES if benchmark.disabled else IMAGES
    source = make(tmp_path, images)
    loader = ImageLoader(source, DEFAULT_DECODING)
    batches = in_batches(source.contents("train").keys, 32)

    def run(batches: list[Sequence[str]]) -> int:
        decoded = decode(
            loader, pil_to_tensor, batches, input_size=(3, SIDE, SIDE), workers=workers, pin_memory=False
        )
        return sum(len(batch.images) for batch in decoded)

    run(batches[:4])  # imports what decoding needs, before the memory is measured
    before = peak_bytes()
    benchmark.group = f"{images} JPEGs of {SIDE} x {SIDE}, decoded by {workers} workers"
    assert benchmark.pedantic(run, [batches], rounds=3) == images
    benchmark.extra_info["growth of memory"] = peak_bytes() - before
    assert peak_bytes() - before < FLAT
