"""Data sets of tar shards, as webdataset writes them, on this machine or behind a URL."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import CacheError, CorruptCache, LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.storage.byte_ranges import Range, open_ranges
from losa.cache_format.storage.paths import CachePath
from losa.extract.media import Media
from losa.extract.sources.base import composed, not_now, spellings, unknown_split
from losa.extract.sources.files import existing_folder
from losa.extract.sources.notes import shortened
from losa.extract.sources.webdataset.indexing import index_shards
from losa.extract.sources.webdataset.sample_fields import USUAL_LABELS, SampleFields
from losa.extract.sources.webdataset.shard_index import ShardIndex
from losa.extract.sources.webdataset.shard_names import Patterns, name_shards
from losa.extract.sources.written_labels import column_name, written_labels


class WebDatasetSource:
    """Images in tar shards, each read by its offset, so that no image is read that is not asked for.

    A key is the name of a shard and that of the image in it, ``train-0000.tar/cat/1.jpg``, because samples of
    different shards may have the same name. Labels and classes are taken over the shards of all splits.
    """

    def __init__(
        self,
        root: CachePath,
        *,
        shards: Patterns | Mapping[str, Patterns] | None = None,
        image_field: str | None = None,
        label_fields: Sequence[str] | None = None,
        num_classes: int | None = None,
        index_folder: str | None = None,
        media: Media = "images",
    ) -> None:
        """Index the shards, or find their indices from an earlier time.

        Args:
            root: the folder, here or in a bucket, that holds all shards.
            shards: see `name_shards`.
            image_field: field of the images, or alternatives with semicolons; None: the only image of each
                sample.
            label_fields: fields of labels; None: ``cls``, or an entry named label of ``json``.
            num_classes: number of classes of labels that are numbers; None: the highest and one more.
            index_folder: see `IndexCache`.
            media: what the images are: images or videos.

        Raises:
            LosaError: shards are missing or damaged, or their images or labels are unclear.
        """
        if isinstance(root, Path):
            existing_folder(root)
        self._root = root
        self._ranges = open_ranges(root)
        self._shards = name_shards(root, shards)
        self.splits = tuple(self._shards)
        fields = SampleFields(image_field, tuple(label_fields or USUAL_LABELS), media)
        names = list(dict.fromkeys(name for one in self._shards.values() for name in one))
        spellings(names)  # which refuses two names that look alike
        indices, notes = index_shards(root, names, fields, index_folder)
        self._rows: dict[str, range] = {}
        self._row_of: dict[str, int] = {}
        for name, index in zip(names, indices, strict=True):
            start = len(self._row_of)
            self._row_of |= {
                f"{composed(name)}/{image}": start + row for row, image in enumerate(index.names)
            }
            self._rows[name] = range(start, len(self._row_of))
        self._offsets = np.array([one for index in indices for one in index.offsets], np.int64)
        self._sizes = np.array([one for index in indices for one in index.sizes], np.int64)
        self._starts = np.array([self._rows[name].start for name in names], np.int64)
        self._names = names
        self._keys = list(self._row_of)
        if not self._keys:
            raise LosaError(
                f"the shards in {root} hold no {media}; fields of their samples: {_all_fields(indices)}"
            )
        columns, self._labels = _labels(root, indices, label_fields, num_classes)
        self.columns = tuple(columns)
        self.notes = (*notes, *_notes(names, indices, told=label_fields is not None))

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split, in the order of its shards and of the images in them."""
        if split not in self._shards:
            raise unknown_split(split, self.splits)
        rows = [row for name in self._shards[split] for row in self._rows[name]]
        return SplitContents(
            name=split,
            keys=[self._keys[row] for row in rows],
            labels={name: labels[rows] for name, labels in self._labels.items()},
        )

    def read(self, key: str) -> bytes:
        """The bytes of an image."""
        row = self._row_of[key]
        # The last of the shards that begin there: those before it are empty.
        path = self._root / self._names[int(np.searchsorted(self._starts, row, side="right")) - 1]
        buffer = np.empty(self._sizes[row], np.uint8)
        try:
            if buffer.size:
                self._ranges.fill([Range(path, int(self._offsets[row]), buffer)])
        except CorruptCache:
            raise not_now(
                f"{path}", f"cannot read {buffer.size:,} bytes at {self._offsets[row]:,}, where {key} was"
            ) from None
        except CacheError as error:
            raise not_now(key, str(error)) from None
        return buffer.tobytes()


def _labels(
    root: CachePath, indices: Sequence[ShardIndex], told: Sequence[str] | None, num_classes: int | None
) -> tuple[list[LabelColumn], dict[str, Int64[np.ndarray, "images"]]]:
    columns = []
    labels: dict[str, Int64[np.ndarray, "images"]] = {}
    for field in [_usual_label(indices) or USUAL_LABELS[0]] if told is None else told:
        texts = [text for index in indices for text in index.texts[field]]
        if told is not None and not any(texts):
            raise LosaError(
                f"dataset.label_fields: no sample in {root} has a label in {field!r}; fields of the samples: "
                f"{_all_fields(indices)}"
            )
        # An entry of a JSON member has a name; another field is the label.
        name = column_name(field.rpartition(".")[2] if "json." in field else "label")
        if name in labels:
            raise LosaError(f"dataset.label_fields: two of them would be the label column {name!r}")
        column, labels[name] = written_labels(name, texts, num_classes, str(root))
        columns.append(column)
    return columns, labels


def _usual_label(indices: Sequence[ShardIndex]) -> str | None:
    return next((field for field in USUAL_LABELS if any(any(one.texts[field]) for one in indices)), None)


def _notes(names: Sequence[str], indices: Sequence[ShardIndex], *, told: bool) -> Iterator[str]:
    left_out: Counter[str] = Counter()
    for index in indices:
        left_out.update(index.left_out)
    for what, number in left_out.items():
        yield f"{what} are left out: {number:,}"
    empty = [name for name, index in zip(names, indices, strict=True) if not index.names]
    if empty:
        yield f"shards without images: {shortened(empty)}"
    usual = None if told else _usual_label(indices)
    if usual == "json.label":
        yield "labels are the entry label of the members .json (dataset.label_fields=[json.label])"
    if usual is None and not told:
        yield (
            f"the samples have no labels in {' or '.join(USUAL_LABELS)}. Their fields: "
            f"{_all_fields(indices)}. If one has labels, name it: dataset.label_fields=[txt] or, for an "
            "entry of a member .json, [json.species]"
        )


def _all_fields(indices: Sequence[ShardIndex]) -> str:
    return ", ".join(dict.fromkeys(field for index in indices for field in index.fields)) or "none"
