"""Data sets by the names under which ``timm.data.create_dataset`` knows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timm.data.dataset import ImageDataset
from timm.data.dataset_factory import create_dataset

from losa.cache_format.errors import LosaError
from losa.extract.sources.arrays import label_column
from losa.extract.sources.base import InvalidImage, hash_source, not_now
from losa.extract.sources.huggingface import from_datasets
from losa.extract.sources.indexed import IndexedSource, IndexedSplit, item_keys
from losa.extract.sources.torch_datasets import TorchDatasetSource, common_classes

_STREAMS = {
    "wds": "dataset=webdataset reads such shards",
    "hfids": "hfds/ reads the same data sets with random access",
    "tfds": "write it to shards once, as docs/datasets.md shows, and use dataset=webdataset",
}
"""Prefixes of data sets that timm reads as streams, and what to do instead."""


@dataclass(frozen=True, slots=True)
class ReaderImages:
    """The images of a reader of timm, undecoded.

    timm's data set itself gives another image in place of one that it cannot decode.
    """

    reader: Any

    def read(self, index: int) -> bytes:
        """The bytes of an image."""
        try:
            file, *_ = self.reader[index]
            with file:
                data: bytes = file.read()
        except FileNotFoundError as error:
            raise InvalidImage(error.strerror or "No such file or directory") from None
        except OSError as error:
            raise not_now(str(self.reader.filename(index)), error.strerror) from None
        return data


def open_timm(
    name: str,
    root: str,
    splits: Sequence[str],
    *,
    download: bool = False,
    image_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> IndexedSource:
    """A data set by its name in timm: ``torch/cifar10``, ``hfds/<name>``, or none for folders and tars.

    Args:
        name: the name. Other parts than those named above are streams, and refused.
        root: folder of the data set, or of what is downloaded.
        splits: the splits, by the names that timm knows.
        download: whether the data set is downloaded if it is not there. ``hfds/`` data sets always may be.
        image_column: see `open_huggingface`, for ``hfds/``.
        label_columns: see `open_huggingface`, for ``hfds/``.
        num_classes: number of classes; None: as many as needed.

    Raises:
        LosaError: there is no such data set or split, it is a stream, or two splits are the same images.
    """
    prefix = name.partition("/")[0].lower() if "/" in name else ""
    if prefix in _STREAMS:
        raise LosaError(
            f"dataset.source={name} is a stream: its images have no numbers by which a decoding process or a "
            f"resumed extraction could ask for them: {_STREAMS[prefix]}"
        )
    if prefix == "hfds" and not download:
        raise LosaError(
            f"dataset.source={name} is downloaded if it is not there: dataset.download=true allows it. A "
            "data set that save_to_disk wrote is opened by dataset=huggingface"
        )
    opened = {split: _create(name, root, split, download) for split in splits}
    source = _source(opened, name, image_column, label_columns, num_classes)
    _refuse_same_images(source)
    return source


def _create(name: str, root: str, split: str, download: bool) -> Any:
    # Handles of tars that are kept open would share their position between decoding processes.
    options: dict[str, Any] = {"cache_tarfiles": False} if Path(root).is_file() else {}
    try:
        return create_dataset(name, root=root, split=split, download=download, **options)
    except ImportError as error:
        raise LosaError(f"dataset.source={name}: {error}: pip install 'losa[huggingface]'") from None
    except Exception as error:  # each library raises errors of its own types
        advice = "" if download else ". If it is not there, dataset.download=true downloads it"
        raise LosaError(
            f"dataset.source={name}, split {split!r}, in {root}: {type(error).__name__}: {error}{advice}"
        ) from error


def _source(
    opened: Mapping[str, Any],
    name: str,
    image_column: str | None,
    label_columns: Sequence[str] | None,
    num_classes: int | None,
) -> IndexedSource:
    example = next(iter(opened.values()))
    if not isinstance(example, ImageDataset):
        return TorchDatasetSource(opened, num_classes=num_classes)
    readers = {split: dataset.reader for split, dataset in opened.items()}
    if hasattr(example.reader, "dataset"):
        datasets = {split: reader.dataset for split, reader in readers.items()}
        return from_datasets(datasets, name, image_column, label_columns, num_classes)
    labels = {split: _labels(reader) for split, reader in readers.items()}
    classes = common_classes({split: _classes(reader) for split, reader in readers.items()})
    column, numbers = label_column([one for split in labels.values() for one in split], num_classes, classes)
    starts = np.cumsum([0, *map(len, labels.values())])
    return IndexedSource(
        {
            split: IndexedSplit(
                images=ReaderImages(reader),
                keys=item_keys(split, reader.filenames()),
                labels={column.name: numbers[start : start + len(labels[split])]},
            )
            for (split, reader), start in zip(readers.items(), starts, strict=False)
        },
        [column],
    )


def _labels(reader: Any) -> list[int]:
    """The labels of a reader of a tar, which lists them apart, or of a folder."""
    if hasattr(reader, "targets"):
        return [int(target) for target in reader.targets]
    return [target for _, target in reader.samples]


def _classes(reader: Any) -> tuple[str, ...]:
    number_of: dict[str, int] = getattr(reader, "class_to_idx", None) or reader.class_name_to_idx
    return tuple(sorted(number_of, key=lambda name: number_of[name]))


def _refuse_same_images(source: IndexedSource) -> None:
    """Refuse two splits that are one: timm takes unknown names for the test set or the whole folder."""
    known: dict[object, str] = {}
    for split in source.splits:
        contents = source.contents(split)
        ends = [contents.keys[0], contents.keys[-1]]
        labels = tuple(values.tobytes() for values in contents.labels.values())
        same = known.setdefault((labels, *(hash_source(source.read(key)) for key in ends)), split)
        if same != split:
            raise LosaError(
                f"dataset.splits: {same!r} and {split!r} are the same images; timm takes one for the other "
                "where there is no split of its name. Name the splits that exist"
            )
