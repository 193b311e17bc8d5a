"""Data sets of Hugging Face's library in a folder of this machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from losa.cache_format.common.fields import is_name
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.base import InvalidImage, read_file
from losa.extract.sources.files import WHOLE, usual_order
from losa.extract.sources.indexed import IndexedSource, IndexedSplit, item_keys
from losa.extract.sources.labels import numbered_column, refuse_no_labels
from losa.extract.sources.written_labels import column_name, written_labels

if TYPE_CHECKING:
    from datasets import Dataset

_SAVED = ("dataset_dict.json", "state.json")
"""Files that ``save_to_disk`` writes."""
_USUAL_LABELS = ("label", "labels", "fine_label", "class", "target")


@dataclass(frozen=True, slots=True)
class HuggingFaceImages:
    """A column of encoded images."""

    dataset: "Dataset"
    column: str

    def read(self, index: int) -> bytes:
        """The bytes of an image as they were put into the data set, or those of the file it refers to."""
        image = self.dataset[index][self.column]
        if image is None:
            raise InvalidImage("the data set has no image in this row")
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        return read_file(Path(image["path"]))


def open_huggingface(
    root: Path,
    *,
    image_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> IndexedSource:
    """A data set that ``save_to_disk`` wrote, or a folder of Parquet files that ``load_dataset`` opens.

    Args:
        root: the folder.
        image_column: column of the images; None: the only one.
        label_columns: columns with labels; None: all with names of classes or, if there are none, one with a
            usual name.
        num_classes: number of classes of labels that are plain numbers; None: the highest and one more.

    Raises:
        LosaError: the library is not installed or cannot open the folder, or columns are missing or unclear.
    """
    return from_datasets(_load(root), str(root), image_column, label_columns, num_classes)


def from_datasets(
    splits: "Mapping[str, Dataset]",
    place: str,
    image_column: str | None,
    label_columns: Sequence[str] | None,
    num_classes: int | None,
) -> IndexedSource:
    """The source of opened data sets of Hugging Face's library, which have the same columns.

    Args:
        splits: split -> its data set.
        place: where they are, for messages.
        image_column: see `open_huggingface`.
        label_columns: see `open_huggingface`.
        num_classes: see `open_huggingface`.

    Raises:
        LosaError: columns are missing or unclear.
    """
    if not splits:
        raise LosaError(f"{place} is a data set without splits")
    example = next(iter(splits.values()))
    image = _image_column(example, image_column, place)
    names = list(label_columns) if label_columns is not None else _label_columns(example)
    columns = []
    labels: dict[str, dict[str, Int64[np.ndarray, "images"]]] = {split: {} for split in splits}
    for name in names:
        if name not in example.features:
            raise LosaError(
                f"dataset.label_columns: {place} has no column {name!r}; it has {_described(example)}"
            )
        values = {split: _values(dataset, name) for split, dataset in splits.items()}
        together = [value for one in values.values() for value in one]
        column, numbers = _numbered(name, example.features[name], together, num_classes, place)
        columns.append(column)
        start = 0
        for split, one in values.items():
            labels[split][column.name] = numbers[start : start + len(one)]
            start += len(one)
    encoded = {split: _undecoded(dataset, image) for split, dataset in splits.items()}
    notes = [] if names else [f"{place} has no labels that are known as such: it has {_described(example)}"]
    return IndexedSource(
        {
            split: IndexedSplit(
                images=HuggingFaceImages(dataset, image),
                # The names alone: the images themselves may be many gigabytes.
                keys=item_keys(split, _values(dataset.flatten(), f"{image}.path")),
                labels=labels[split],
            )
            for split, dataset in encoded.items()
        },
        columns,
        notes,
    )


def _load(root: Path) -> "Mapping[str, Dataset]":
    try:
        import datasets
    except ImportError:
        raise LosaError(
            "dataset=huggingface needs the library datasets, which is not installed: "
            "pip install 'losa[huggingface]'"
        ) from None
    if not root.is_dir():
        raise LosaError(f"dataset.root: there is no folder {root}")
    try:
        if any((root / name).exists() for name in _SAVED):
            loaded: Any = datasets.load_from_disk(str(root))
        else:
            loaded = datasets.load_dataset(str(root))
    except Exception as error:  # the library raises errors of many types
        raise LosaError(
            f"{root} cannot be opened as a data set of Hugging Face: {type(error).__name__}: {error}. "
            "Expected a folder written by save_to_disk, or one with Parquet files"
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        return {split: loaded[split] for split in usual_order(loaded)}
    name = str(loaded.split)
    return {name if loaded.split is not None and is_name(name) else WHOLE: loaded}


def _image_column(dataset: "Dataset", told: str | None, place: str) -> str:
    from datasets import Image

    columns: list[str] = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    if told is not None and told in columns:
        return told
    if told is not None or len(columns) != 1:
        found = f"no images in column {told!r}" if told is not None else f"{len(columns)} columns of images"
        advice = "columns of other types become images by cast_column(name, datasets.Image())"
        if columns:
            advice = f"dataset.image_column={columns[0]}"
        raise LosaError(
            f"{place}: expected one column of type Image, found {found} in {_described(dataset)}: {advice}"
        )
    return columns[0]


def _label_columns(dataset: "Dataset") -> list[str]:
    from datasets import ClassLabel

    named = [name for name, feature in dataset.features.items() if isinstance(feature, ClassLabel)]
    return named or [name for name in _USUAL_LABELS if name in dataset.features][:1]


def _numbered(
    name: str, feature: Any, values: Sequence[Any], num_classes: int | None, place: str
) -> tuple[LabelColumn, Int64[np.ndarray, "images"]]:
    from datasets import ClassLabel

    known = column_name(name)
    if all(value is None or isinstance(value, str) for value in values):
        return written_labels(known, [value or None for value in values], num_classes, place)
    if not all(value is None or isinstance(value, int) for value in values):
        raise LosaError(f"{place}: expected numbers or names of classes in column {name!r}, found {feature}")
    labels = np.array([MISSING_LABEL if value is None else value for value in values], np.int64)
    if isinstance(feature, ClassLabel):
        classes = tuple(feature.names)
        if num_classes not in (None, len(classes)):
            raise LosaError(
                f"{place}: dataset.num_classes={num_classes}, but column {name!r} has {len(classes)} classes"
            )
        return LabelColumn(name=known, num_classes=len(classes), classes=classes), labels
    refuse_no_labels(known, labels, place)
    return numbered_column(known, labels, num_classes, place), labels


def _undecoded(dataset: "Dataset", column: str) -> "Dataset":
    """The column of images alone, as bytes and names of files."""
    from datasets import Image

    return dataset.with_format(None).select_columns([column]).cast_column(column, Image(decode=False))


def _values(dataset: "Dataset", column: str) -> list[Any]:
    """A column as Python values; other columns are not read."""
    table: Any = dataset.select_columns([column]).with_format("arrow")[:]
    values: list[Any] = table.column(column).to_pylist()
    return values


def _described(dataset: "Dataset") -> str:
    features: Iterable[tuple[str, Any]] = dataset.features.items()
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features)
