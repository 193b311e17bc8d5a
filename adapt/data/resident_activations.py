"""Activations of images whose codes are read once and kept in memory, on this machine or on the GPU."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64

from losa.adapt.data.activations import CachedActivations, CodedBatch
from losa.adapt.data.side_stream import SideStream
from losa.cache_format import Codes, Split
from losa.cache_format.codecs.torch_codecs import DeviceCodec, DeviceCodes
from losa.cache_format.common.device import to_device
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.metadata.index import image_ids

BATCH_BYTES = 2**27
"""Bytes of codes that are read at once while loading."""


class ResidentActivations:
    """An `ActivationSource` of codes in memory, on this machine or on the compute device."""

    def __init__(
        self,
        take: Callable[[np.ndarray], DeviceCodes],
        rows: Int64[np.ndarray, "images"],
        codec: DeviceCodec,
    ) -> None:
        """Wrap loaded codes; see `load_codes`.

        Args:
            take: returns rows of the loaded codes, in the given order, on the compute device.
            rows: for every position of the split the row of its codes; -1 where none were loaded.
            codec: the codec, on the compute device.
        """
        self._take = take
        self._rows = rows
        self._codec = codec
        self._side_stream = SideStream(codec.device)

    def read(self, indices: Int64[np.ndarray, "images"]) -> CodedBatch:
        """Read some images, in the given order.

        Raises:
            IndexError: a position is out of range or was not loaded.
        """
        if len(indices) and indices.min() < 0:
            raise IndexError(f"index {indices.min()}: expected 0 to {len(self._rows) - 1}")
        rows = self._rows[indices]
        if (rows < 0).any():
            raise IndexError(f"image {indices[rows < 0][0]} was not loaded")
        with self._side_stream():
            return CodedBatch(self._take(rows), self._codec, self._side_stream.mark())


def load_codes(
    source: CachedActivations, positions: Int64[np.ndarray, "images"], place: Literal["gpu", "ram"]
) -> ResidentActivations:
    """Read images of a split once, verify their checksums, and keep their codes.

    Args:
        source: the split, and the codec on the compute device.
        positions: positions of the images that will be read.
        place: ``gpu`` for the memory of the compute device, ``ram`` for that of this machine.

    Raises:
        CorruptCache: stored bytes do not match their checksum.
    """
    split, codec = source.split, source.codec
    stored = image_ids(split.index)
    ordered = positions[np.argsort(stored[positions])]
    rows = np.full(len(split), -1)
    rows[ordered] = np.arange(len(ordered))
    take = (_load_on_device if place == "gpu" else _load_in_ram)(split, ordered, codec)
    return ResidentActivations(take, rows, codec)


def _load_in_ram(
    split: Split, positions: Int64[np.ndarray, "images"], codec: DeviceCodec
) -> Callable[[np.ndarray], DeviceCodes]:
    none = split.read(positions[:0])
    values = np.empty((len(positions), *none.values.shape[1:]), none.values.dtype)
    scales = None
    if none.scales is not None:
        scales = np.empty((len(positions), *none.scales.shape[1:]), none.scales.dtype)
    for chunk in _row_ranges(split, len(positions)):
        split.read(positions[chunk], Codes(values[chunk], None if scales is None else scales[chunk]))
    # Rows are taken with numpy, because torch is thirty times slower at it on a CPU.
    return lambda rows: codec.to_device(Codes(values[rows], None if scales is None else scales[rows]))


def _load_on_device(
    split: Split, positions: Int64[np.ndarray, "images"], codec: DeviceCodec
) -> Callable[[np.ndarray], DeviceCodes]:
    none = codec.to_device(split.read(positions[:0]))
    values = none.values.new_empty((len(positions), *none.values.shape[1:]))
    scales = None if none.scales is None else none.scales.new_empty((len(positions), *none.scales.shape[1:]))
    for chunk in _row_ranges(split, len(positions)):
        codes = codec.to_device(split.read(positions[chunk]))
        values[chunk] = codes.values
        if scales is not None and codes.scales is not None:
            scales[chunk] = codes.scales

    def take(rows: np.ndarray) -> DeviceCodes:
        chosen = to_device(torch.from_numpy(rows), values.device)
        return DeviceCodes(
            values.index_select(0, chosen), None if scales is None else scales.index_select(0, chosen)
        )

    return take


def _row_ranges(split: Split, images: int) -> Iterator[slice]:
    """Ranges of rows to read at once, with a progress bar."""
    step = max(1, BATCH_BYTES // split.image_bytes)
    with progress_bar(images, f"load {split.name}", "image", leave=False) as bar:
        for start in range(0, images, step):
            rows = slice(start, min(start + step, images))
            yield rows
            bar.update(rows.stop - rows.start)
