"""The MATLAB files of Oxford Flowers, Stanford Dogs and Stanford Cars."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from losa.cache_format.errors import LosaError
from losa.extract.sources.existing_files import ExistingFiles
from losa.extract.sources.fgvc.annotations import AnnotatedSplit, Annotations, ClassId
from losa.extract.sources.text import read_listing


def read_flowers(root: Path) -> Annotations:
    """Oxford Flowers 102: imagelabels.mat and setid.mat, whose numbers are those of jpg/image_<number>.jpg.

    Raises:
        LosaError: a file is missing or wrong, or scipy is not installed.
    """
    file = root / "setid.mat"
    labels = _numbers(root / "imagelabels.mat", "labels")
    splits = {}
    for split, field in {"train": "trnid", "val": "valid", "test": "tstid"}.items():
        ids = _numbers(file, field)
        if ids and not 0 < min(ids) <= max(ids) <= len(labels):
            raise LosaError(f"{file}: {field} has numbers beyond the {len(labels)} images of imagelabels.mat")
        splits[split] = _split(
            file, [f"jpg/image_{number:05d}.jpg" for number in ids], [labels[number - 1] for number in ids]
        )
    return Annotations(splits=splits)


def read_dogs(root: Path) -> Annotations:
    """Stanford Dogs: train_list.mat and test_list.mat, in the root or in its folder ``lists``.

    Raises:
        LosaError: a file is missing or wrong, or scipy is not installed.
    """
    splits = {}
    names: dict[ClassId, str] = {}
    for split in ("train", "test"):
        file = _first(root / f"lists/{split}_list.mat", root / f"{split}_list.mat")
        paths = [str(path) for path in np.atleast_1d(_field(file, "file_list"))]
        labels = _numbers(file, "labels")
        splits[split] = _split(file, [f"Images/{path}" for path in paths], labels)
        names |= dict(zip(labels, (path.split("/")[0] for path in paths), strict=True))
    return Annotations(splits=splits, names=names)


def read_cars(root: Path) -> Annotations:
    """Stanford Cars: devkit/ with cars_train/ and cars_test/.

    The labels of the test split came later, in cars_test_annos_withlabels.mat: without it, they are missing.

    Raises:
        LosaError: a file is missing or wrong, or scipy is not installed.
    """
    files = {
        "train": root / "devkit/cars_train_annos.mat",
        "test": _first(
            root / "devkit/cars_test_annos_withlabels.mat",
            root / "cars_test_annos_withlabels.mat",
            root / "devkit/cars_test_annos.mat",
        ),
    }
    existing = ExistingFiles(root)
    splits = {}
    notes = []
    for split, file in files.items():
        entries = np.atleast_1d(_field(file, "annotations"))
        if not all(isinstance(entry, dict) and "fname" in entry for entry in entries):
            raise LosaError(f"{file}: expected annotations with the field fname")
        fields = [str(entry["fname"]) for entry in entries]
        # Some archives have a second folder of the same name in the first.
        folder = f"cars_{split}/"
        if fields and f"{folder}{folder}{fields[0]}" in existing:
            folder += folder
        classes = [entry.get("class") for entry in entries]
        if None in classes:
            notes.append(f"{file} has no labels: the images of split {split!r} have none")
        splits[split] = _split(
            file,
            [folder + name for name in fields],
            [None if one is None else _whole(file, "class", one) for one in classes],
        )
    names = np.atleast_1d(_field(root / "devkit/cars_meta.mat", "class_names"))
    return Annotations(
        splits=splits,
        names={number: str(name) for number, name in enumerate(names, start=1)},
        notes=tuple(notes),
    )


def _split(file: Path, paths: list[str], classes: Sequence[int | None]) -> AnnotatedSplit:
    if len(classes) != len(paths):
        raise LosaError(f"{file}: {len(paths)} images, but {len(classes)} labels")
    return AnnotatedSplit(file=file, paths=paths, classes=classes, numbers=range(1, len(paths) + 1))


def _first(*files: Path) -> Path:
    """The first file that exists, or the first of all, so that it is the one that is missed."""
    return next((file for file in files if file.exists()), files[0])


def _numbers(file: Path, field: str) -> list[int]:
    return [_whole(file, field, number) for number in np.atleast_1d(_field(file, field))]


def _whole(file: Path, field: str, number: Any) -> int:
    try:
        return int(number)
    except (TypeError, ValueError):
        raise LosaError(f"{file}: expected numbers in {field}, found {number!r}") from None


def _field(file: Path, field: str) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise LosaError(
            f"{file}: MATLAB files need scipy, which is not installed: pip install 'losa[fgvc]'"
        ) from None
    data = read_listing(file)
    try:
        content = loadmat(io.BytesIO(data), simplify_cells=True, variable_names=[field])
    except Exception as error:  # of many types, if the file is damaged
        raise LosaError(f"{file} is no MATLAB file that can be read: {error}") from None
    if field not in content:
        raise LosaError(f"{file} has no variable {field!r}")
    return content[field]
