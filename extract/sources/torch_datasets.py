"""Map-style data sets of torch, such as those of torchvision."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from PIL import UnidentifiedImageError
from torch.utils.data import Dataset, IterableDataset, Subset

from losa.cache_format.common.progress import progress_bar
from losa.cache_format.errors import LosaError
from losa.extract.sources.arrays import label_column, stored_image
from losa.extract.sources.base import InvalidImage, StoredImage, not_now, read_file
from losa.extract.sources.indexed import IndexedSource, IndexedSplit, item_keys

_CHECKED = 3
"""Items whose label is compared with the data set's list of labels, before this is trusted."""


@dataclass(frozen=True, slots=True)
class ItemImages:
    """The first entries of a data set's items."""

    dataset: "Dataset[Any]"

    def read(self, index: int) -> StoredImage:
        """The image of an item, as the data set decodes it."""
        image, _ = _item(self.dataset, index)
        if isinstance(image, torch.Tensor):
            if image.dtype != torch.uint8:
                raise LosaError(
                    f"image {index}: expected a PIL image or a tensor of dtype uint8, found {image.dtype}. "
                    "Make the data set without transform: losa-extract resizes and normalises by itself"
                )
            image = image.numpy()
            if image.ndim == 3:  # torch has channels first
                image = np.moveaxis(image, 0, -1)
        return stored_image(image, f"image {index}")


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The image files that a data set lists in its ``samples``."""

    root: str
    names: Sequence[str]
    """Paths relative to the root."""

    def read(self, index: int) -> bytes:
        """The bytes of an image file."""
        return read_file(Path(self.root, self.names[index]))


class TorchDatasetSource(IndexedSource):
    """Data sets of torch that give an image and a label for each index.

    Images come from files, undecoded, where the data set lists its files (``samples``), as torchvision's
    ImageFolder does. Labels come from its list of labels (``targets``, ``labels``, ``samples``) or, if it has
    none, from its items, each of which is then decoded once more. Keys are ``<split>/<path>`` of files, else
    ``<split>/<number>``; the one label column is ``label``.
    """

    def __init__(
        self,
        splits: "Mapping[str, Dataset[Any]]",
        *,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Take a data set for each split.

        Args:
            splits: split -> a map-style data set of ``(image, label, ...)``, made without transforms. An
                image is a PIL image, a uint8 tensor ``(channels, height, width)`` or as for `ArraySource`.
            num_classes: number of classes, if there are no names; None: the highest label of all splits and
                one more.
            classes: names of the classes; None: the data sets' own ``classes``, if they have some.

        Raises:
            LosaError: a data set is a stream or has transforms, its labels are neither integers nor names of
                classes, or the splits have different classes.
        """
        for split, dataset in splits.items():
            if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
                raise LosaError(
                    f"split {split!r}: {type(dataset).__name__} is a stream: its images have no numbers by "
                    "which a decoding process or a resumed extraction could ask for them. Write it to shards "
                    "once, and use dataset=webdataset"
                )
            if len(dataset):
                with suppress(InvalidImage):
                    ItemImages(dataset).read(0)
        labels = {split: read_labels(dataset) for split, dataset in splits.items()}
        if classes is None:
            classes = common_classes({split: _classes(dataset) for split, dataset in splits.items()})
        column, numbers = label_column(
            [one for split in labels.values() for one in split], num_classes, classes
        )
        starts = np.cumsum([0, *map(len, labels.values())])
        super().__init__(
            {
                split: _split(split, dataset, column.name, numbers[start : start + len(labels[split])])
                for (split, dataset), start in zip(splits.items(), starts, strict=False)
            },
            [column],
        )


def common_classes(classes: Mapping[str, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Names of the classes, in the order of their numbers; None if a split has no names.

    Args:
        classes: split -> its names of classes.

    Raises:
        LosaError: two splits have different classes, so that one number has two meanings.
    """
    (first, names), *others = classes.items()
    for split, other in others:
        if names is not None and other is not None and names != other:
            raise LosaError(
                f"splits {first!r} and {split!r} number different classes: {len(names)} and {len(other)}, of "
                f"which {len(set(names) & set(other))} are the same. Give each split the folders of all "
                "classes, or use dataset=folder, which numbers the classes of all splits together"
            )
    return names if None not in classes.values() else None


def read_labels(dataset: "Dataset[Any]") -> list[Any]:
    """The labels of a data set: from its list of them, or else from its items, which takes decoding them."""
    listed = _listed_labels(dataset)
    size = len(dataset)  # type: ignore[arg-type]  # Dataset itself has no length
    if listed is not None and len(listed) == size:
        checked = sorted({round(index) for index in np.linspace(0, size - 1, _CHECKED)}) if size else []
        if all(_label(dataset, index) in (listed[index], None) for index in checked):
            return listed
    labels = []
    with progress_bar(size, "reading labels", "img") as bar:
        for index in range(size):
            labels.append(_label(dataset, index))
            bar.update()
    return labels


def _item(dataset: "Dataset[Any]", index: int) -> tuple[Any, Any]:
    """Image and label of an item; None for a label that it has not."""
    try:
        item: Any = dataset[index]
    except UnidentifiedImageError:  # its own text would name the folder
        raise InvalidImage("not an image in a format that Pillow knows") from None
    except OSError as error:
        # Errors of the system have a number; Pillow's, such as those of truncated data, have none.
        if error.errno is None:
            raise InvalidImage(str(error)) from None
        if isinstance(error, FileNotFoundError):
            raise InvalidImage(error.strerror) from None
        raise not_now(f"image {index}", error.strerror) from None
    if not isinstance(item, tuple | list):
        return item, None
    return item[0], item[1] if len(item) > 1 else None


def _split(
    split: str, dataset: "Dataset[Any]", column: str, labels: Int64[np.ndarray, "images"]
) -> IndexedSplit:
    files = _files(dataset)
    names = [None] * len(labels) if files is None else files.names
    images = ItemImages(dataset) if files is None else files
    return IndexedSplit(images=images, keys=item_keys(split, names), labels={column: labels})


def _files(dataset: "Dataset[Any]") -> SampleFiles | None:
    """The image files of a data set, if it opens them with torchvision's own loader and changes nothing."""
    if isinstance(dataset, Subset):
        whole = _files(dataset.dataset)
        return whole and SampleFiles(whole.root, [whole.names[index] for index in dataset.indices])
    loader, root = getattr(dataset, "loader", None), getattr(dataset, "root", None)
    own = getattr(loader, "__module__", None) == "torchvision.datasets.folder"
    samples = getattr(dataset, "samples", None)
    if not own or root is None or not samples or getattr(dataset, "transform", None) is not None:
        return None
    return SampleFiles(str(root), [os.path.relpath(path, root) for path, _ in samples])


def _listed_labels(dataset: "Dataset[Any]") -> list[Any] | None:
    if isinstance(dataset, Subset):
        inner = _listed_labels(dataset.dataset)
        return None if inner is None else [inner[index] for index in dataset.indices]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for name in ("targets", "labels"):
        labels = getattr(dataset, name, None)
        if isinstance(labels, np.ndarray | torch.Tensor) and labels.ndim == 1:
            return list(labels.tolist())
        if isinstance(labels, list | tuple):
            return list(labels)
    samples = getattr(dataset, "samples", None)
    return [label for _, label in samples] if isinstance(samples, list) else None


def _label(dataset: "Dataset[Any]", index: int) -> Any:
    """The label of an item; None if it has none, or if its image is invalid."""
    try:
        _, label = _item(dataset, index)
    except InvalidImage:
        return None
    single = isinstance(label, np.generic) or (isinstance(label, torch.Tensor) and label.numel() == 1)
    return label.item() if single else label


def _classes(dataset: "Dataset[Any]") -> tuple[str, ...] | None:
    if isinstance(dataset, Subset):
        return _classes(dataset.dataset)
    classes = getattr(dataset, "classes", None)
    if isinstance(classes, list | tuple) and classes and all(isinstance(name, str) for name in classes):
        return tuple(classes)
    return None
