"""The images of a data set in memory, as losa-extract decodes, resizes and crops them, and their labels."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from losa.cache_format import LosaError
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.cache_format.contents import SplitContents
from losa.cache_format.identity import Preprocessing
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract import DatasetConfig, open_source
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import hash_source
from losa.pipelines.bench.machine import available_memory


class LiveData:
    """Some splits of a data set, each image decoded once, when that is asked for or a batch first needs it.

    Pixels are kept in uint8, a quarter of the bytes of the inputs that are made of them for each batch.
    """

    def __init__(
        self, folder: Path, splits: Sequence[str], preprocessing: Preprocessing, most: int | None = None
    ) -> None:
        """Read the lists. Images without a label are left out.

        Args:
            folder: a data set in the layout of ``dataset=lists``.
            splits: the splits that will be used.
            preprocessing: that of the backbone.
            most: take only so many images of each split, the first ones; None: all.

        Raises:
            LosaError: a split or an image is missing, or no image of a split has a label.
        """
        self.folder = folder
        self.preprocessing = preprocessing
        self._source = open_source(DatasetConfig(kind="lists", name=folder.name, root=str(folder)))
        (self.column,) = self._source.columns
        self._splits = {split: self._labelled(self._source.contents(split), most) for split in splits}
        keys = dict.fromkeys(key for split in self._splits.values() for key in split.keys)
        self._rows = {key: row for row, key in enumerate(keys)}
        self._hash = functools.cache(lambda key: hash_source(self._source.read(key)))

    def labels(self, split: str) -> Int64[np.ndarray, "images"]:
        """The label of each image of a split."""
        return self._splits[split].labels[self.column.name]

    def fingerprint(self, split: str) -> dict[str, str]:
        """Hashes of the keys, the labels and the stored bytes of the images of a split, in its order."""
        digest = hashlib.sha256()
        for key in self._splits[split].keys:
            digest.update(self._hash(key))
        return {
            "keys_sha256": self._splits[split].keys_sha256,
            "labels_sha256": hash_array(self.labels(split)),
            "images_sha256": digest.hexdigest(),
        }

    def refuse_shared_images(self, split: str, others: Sequence[str]) -> None:
        """Refuse images of a split that others have, too.

        Raises:
            LosaError: there are some; the message says how many.
        """
        keys = set(self._splits[split].keys)
        for other in others:
            shared = len(keys.intersection(self._splits[other].keys))
            if shared:
                raise LosaError(
                    f"{self.folder}: {shared} of {len(keys)} images of {split} are also in {other}: images "
                    "to score have no part in a training or a choice before it. Take other splits"
                )

    def decode(self) -> None:
        """Decode all images, if that has not been done.

        Raises:
            LosaError: an image cannot be decoded, or the images do not fit into memory.
        """
        self._pixels  # noqa: B018 -- computed by being read

    def batch(
        self, split: str, positions: Int64[np.ndarray, "batch"], device: str
    ) -> tuple[Float[Tensor, "batch channels height columns"], Int64[Tensor, "batch"]]:
        """Inputs of the network, in float32, and labels of some images of a split.

        Raises:
            LosaError: as in `decode`.
        """
        keys = self._splits[split].keys
        pixels = self._pixels[[self._rows[keys[position]] for position in positions]].to(device)
        labels = torch.from_numpy(self.labels(split)[positions]).to(device)
        return normalise(pixels, self.preprocessing), labels

    @functools.cached_property
    def _pixels(self) -> UInt8[Tensor, "images channels height columns"]:
        shape = (len(self._rows), *self.preprocessing.input_size)
        _refuse_if_memory_is_short(int(np.prod(shape)))
        loader = ImageLoader(self._source, DEFAULT_DECODING)
        transform = make_transform(self.preprocessing, normalised=False)
        pixels = torch.empty(shape, dtype=torch.uint8)
        with progress_bar(len(pixels), f"decoding {self.folder.name}", "images", leave=False) as bar:
            for key, row in self._rows.items():
                try:
                    pixels[row] = transform(loader.load(key).image)
                except InvalidImage as error:
                    raise LosaError(
                        f"{self.folder}, image {key}: {error}; methods are compared on images that all of "
                        "them can read: mend it, or take it out of the lists"
                    ) from None
                bar.update(1)
        return pixels

    def _labelled(self, split: SplitContents, most: int | None) -> SplitContents:
        rows = np.flatnonzero(split.labels[self.column.name] != MISSING_LABEL)
        if not len(rows):
            raise LosaError(f"{self.folder}: no image of split {split.name!r} has a label")
        return split.at(rows[:most])


def normalise(
    pixels: UInt8[Tensor, "batch channels height columns"], preprocessing: Preprocessing
) -> Float[Tensor, "batch channels height columns"]:
    """The inputs of a network, in float32: the same operations as in timm's transform, so the same bits."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(-1, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return pixels.float().div_(255).sub_(mean).div_(std)


def _refuse_if_memory_is_short(needed: int) -> None:
    available = available_memory()
    if available is not None and needed > available:
        raise LosaError(
            f"the decoded images take {readable(needed)}, {readable(available)} of memory are available"
        )
