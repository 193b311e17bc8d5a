"""The images of `losa-bench extract`: repeated files, as a data set of losa's and as one of torch's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from losa.cache_format import LabelColumn, SplitContents
from losa.extract.sources.base import read_file

QUALITY = 90
"""JPEG quality of made-up photographs."""
GRAIN = 8
"""Pixels along an edge of the squares of a made-up photograph; noise of single pixels takes longer to decode
than any photograph."""


def make_photographs(folder: Path, number: int, size: int) -> list[str]:
    """Write JPEG files of smooth noise.

    Args:
        folder: where the files are written.
        number: how many.
        size: their width and height.

    Returns:
        Their paths.
    """
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{index:04d}.jpg") for index in range(number)]
    small = -(-size // GRAIN)
    for path in paths:
        noise = Image.fromarray(rng.integers(0, 256, (small, small, 3), np.uint8))
        noise.resize((size, size), Image.Resampling.BICUBIC).save(path, quality=QUALITY)
    return paths


@dataclass(frozen=True, slots=True)
class RepeatedFiles:
    """An `ImageSource` without labels. Each split has the files in their order, as often as needed."""

    columns: ClassVar[tuple[LabelColumn, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()

    files: Sequence[str]
    images: Mapping[str, int]
    """Split -> number of its images."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.images)

    def contents(self, split: str) -> SplitContents:
        """Keys ``<split>/<number>``."""
        keys = [f"{split}/{number}" for number in range(self.images[split])]
        return SplitContents(name=split, keys=keys, labels={})

    def read(self, key: str) -> bytes:
        """The bytes of an image's file."""
        number = int(key.rpartition("/")[2])
        return read_file(Path(self.files[number % len(self.files)]))


class Photographs(Dataset[Tensor]):
    """The same images for torch's DataLoader, as programs without losa decode them."""

    def __init__(self, files: Sequence[str], images: int, transform: Callable[[Image.Image], Tensor]) -> None:
        self.files = files
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index % len(self.files)]) as image:
            return self.transform(image.convert("RGB"))
