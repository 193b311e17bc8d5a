"""What the tests of losa-bench live share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from losa.extract import BackboneConfig, FrozenBackbone, load_backbone


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def backbone() -> FrozenBackbone:
    """A toy transformer with random weights, for images of 160 x 160."""
    return load_backbone(BackboneConfig(name="test_vit", pretrained=False))


def paint(folder: Path, seed: int) -> Path:
    """A data set of dark and bright images, in four lists."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    lists: dict[str, list[str]] = {}
    for split, count in (("train800", 16), ("val200", 8), ("test", 10)):
        lists[split] = []
        for number in range(count):
            label = number % 2
            pixels = rng.integers(0, 100, (20, 20, 3)) + 150 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}{number}.png")
            lists[split].append(f"{split}{number}.png {label}\n")
    lists["train800val200"] = lists["train800"] + lists["val200"]
    for split, lines in lists.items():
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data sets ``leaves`` and ``stones``."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("leaves", "stones")):
        paint(folder / name, seed)
    return folder
