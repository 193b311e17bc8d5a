"""How long it takes to open a data set: to list its images, without decoding one."""

from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from losa.extract import DatasetConfig, open_source

CLASSES = 100
IMAGES = 100


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty files in a folder for each class, and a list and a table of ten times as many images."""
    root = tmp_path_factory.mktemp("many")
    for one in range(CLASSES):
        (root / f"folders/class{one}").mkdir(parents=True)
        for number in range(IMAGES):
            (root / f"folders/class{one}/{number}.jpg").touch()
    classes = [one for one in range(CLASSES) for _ in range(IMAGES * 10)]
    paths = [(f"folders/class{one}/{number}.jpg", one) for number, one in enumerate(classes)]
    (root / "train.txt").write_text("".join(f"{path} {one}\n" for path, one in paths))
    (root / "table.csv").write_text("file,label\n" + "".join(f"{path},{one}\n" for path, one in paths))
    return root


@pytest.mark.parametrize(
    ("kind", "fields", "images"),
    [
        ("folder", {"subfolder": "folders"}, CLASSES * IMAGES),
        ("lists", {}, CLASSES * IMAGES * 10),
        ("table", {"file": "table.csv"}, CLASSES * IMAGES * 10),
    ],
)
def test_a_source_opens(
    benchmark: BenchmarkFixture, root: Path, kind: Any, fields: dict[str, str], images: int
) -> None:
    config = DatasetConfig(kind=kind, name="x", root=str(root), **fields)
    source = benchmark(open_source, config)
    assert len(source.keys(source.splits[0])) == images
