"""Placement of splits in segments, so that every image is stored once."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from losa.cache_format.common.fields import RESERVED_SUFFIXES, is_name
from losa.cache_format.common.hashes import hash_array, hash_keys
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn, Segment
from losa.cache_format.metadata.labels import MISSING_LABEL


@dataclass(frozen=True, kw_only=True)
class SplitContents:
    """The images and labels of a split, as its source describes them.

    Raises:
        LosaError: the name or a key is invalid, a key is there twice, there is no image, or labels are not
            as many as images.
    """

    name: str
    """Name of the split: at most 100 letters, digits, ``.``, ``_`` and ``-``."""
    keys: Sequence[str]
    """Unique key of every image: a POSIX path relative to the data set's root, in Unicode form NFC."""
    labels: Mapping[str, Int64[np.ndarray, "images"]] = field(default_factory=dict)
    """Label column -> label of every image; -1 where an image has none."""
    rule: str | None = None
    """How losa chose the images of the split, if it was not the data set that did."""

    def __post_init__(self) -> None:
        """Refuse an invalid name, an empty split, keys that are invalid or not unique, and missing labels."""
        if not self.keys:
            raise LosaError(f"split {self.name!r} is empty: there is nothing to extract")
        if not is_name(self.name):
            raise LosaError(
                f"split {self.name!r}: a name has at most 100 letters, digits, '.', '_' and '-', and does "
                f"not end in {' or '.join(RESERVED_SUFFIXES)}"
            )
        seen: set[str] = set()
        for key in self.keys:
            if key in seen:
                raise LosaError(f"split {self.name!r}: image {key!r} is listed twice")
            seen.add(key)
            if not _is_text(key):
                raise LosaError(f"split {self.name!r}: the file name {key!r} is not UTF-8; rename it")
            if not key or not unicodedata.is_normalized("NFC", key):
                raise LosaError(f"split {self.name!r}: key {key!r} is empty or not in Unicode form NFC")
        for column, labels in self.labels.items():
            if len(labels) != len(self.keys):
                raise LosaError(
                    f"split {self.name!r}: {len(self.keys):,} images, but {len(labels):,} labels in column "
                    f"{column!r}"
                )

    @cached_property
    def keys_sha256(self) -> str:
        """Hash of the ordered keys, in hexadecimal."""
        return hash_keys(self.keys)

    @property
    def first_labels(self) -> Int64[np.ndarray, "images"]:
        """Labels in the first column; zeros, as for images of one class, if there is no column."""
        return next(iter(self.labels.values()), np.zeros(len(self.keys), np.int64))

    def at(self, rows: Int64[np.ndarray, "rows"]) -> "SplitContents":
        """The split with only the images at some positions.

        Args:
            rows: positions in `keys`, in the order that the images are to have.

        Raises:
            IndexError: a position is out of range.
            LosaError: there is no position, or one is there twice.
        """
        return replace(
            self,
            keys=[self.keys[row] for row in rows],
            labels={column: values[rows] for column, values in self.labels.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A segment with the keys and labels of its rows."""

    segment: Segment
    keys: Sequence[str]
    labels: Mapping[str, Int64[np.ndarray, "images"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Placement of new splits in a cache: the segments to add and the indices of the splits."""

    segments: tuple[StoredSegment, ...]
    indices: Mapping[str, Int64[np.ndarray, "images two"]]
    """Split -> for every image the number of its segment and its row there."""


def place(
    splits: Sequence[SplitContents],
    *,
    columns: Sequence[LabelColumn],
    stored: Sequence[StoredSegment],
    rows_per_shard: int,
) -> Placement:
    """Place splits after the images that are already stored.

    Each split adds one segment, named after it, with the images that no earlier segment holds.
    A split whose images are all stored (``train800val200``) adds none.

    Args:
        splits: the splits, in the order in which they are to be stored.
        columns: label columns of the cache. An image has the label that one of the splits gives it, or -1.
        stored: the existing segments.
        rows_per_shard: images in a shard of the new segments.

    Raises:
        LosaError: two splits, or a split and the cache, give one image different labels, or a label is
            out of the range of its column.
    """
    place_of = {key: (entry.segment.number, row) for entry in stored for row, key in enumerate(entry.keys)}
    classes = {column.name: column.num_classes for column in columns}
    label_of = {
        (column, key): label
        for entry in stored
        for column, labels in entry.labels.items()
        for key, label in zip(entry.keys, labels.tolist(), strict=True)
        if label != MISSING_LABEL
    }
    for split in splits:
        for column, labels in split.labels.items():
            _refuse_beyond(split.name, column, labels, classes[column])
            for key, label in zip(split.keys, labels.tolist(), strict=True):
                if label == MISSING_LABEL:
                    continue
                if label_of.setdefault((column, key), label) != label:
                    raise LosaError(
                        f"image {key!r} has {column} {label} in split {split.name!r}, "
                        f"but {label_of[column, key]} in another split"
                    )
    segments: list[StoredSegment] = []
    indices: dict[str, Int64[np.ndarray, "images two"]] = {}
    for split in splits:
        keys = [key for key in split.keys if key not in place_of]
        if keys:
            taken = [entry.segment for entry in (*stored, *segments)]
            number = max((segment.number for segment in taken), default=-1) + 1
            place_of |= {key: (number, row) for row, key in enumerate(keys)}
            labels_of_rows = {
                column: np.array([label_of.get((column, key), MISSING_LABEL) for key in keys], np.int64)
                for column in classes
            }
            segment = Segment(
                name=unused_name(split.name, [segment.name for segment in taken]),
                number=number,
                images=len(keys),
                keys_sha256=hash_keys(keys),
                # In a shard longer than its segment, scales would only be padded.
                rows_per_shard=min(rows_per_shard, len(keys)),
                labels_sha256={column: hash_array(labels) for column, labels in labels_of_rows.items()},
            )
            segments.append(StoredSegment(segment=segment, keys=keys, labels=labels_of_rows))
        indices[split.name] = np.array([place_of[key] for key in split.keys], np.int64)
    return Placement(segments=tuple(segments), indices=indices)


def _refuse_beyond(split: str, column: str, labels: np.ndarray, num_classes: int) -> None:
    lowest, highest = labels.min(), labels.max()
    if lowest < MISSING_LABEL or highest >= num_classes:
        raise LosaError(
            f"split {split!r}: labels from {lowest} to {highest} in column {column!r}, which has "
            f"{num_classes} classes: expected {MISSING_LABEL} (none) to {num_classes - 1}"
        )


def _is_text(key: str) -> bool:
    """Whether a file name is valid UTF-8. Python represents other bytes by lone surrogates."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def unused_name(name: str, taken: Sequence[str]) -> str:
    """A name for a segment: the given one, with a number appended if it is taken."""
    candidates = [name, *(f"{name}.{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)
