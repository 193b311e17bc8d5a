"""Residency: where the codes of a split are kept, on the GPU, in memory, or only in the cache."""

import logging
from typing import Literal

from losa.adapt.free_memory import free_in_ram, free_on_gpu, is_cuda
from losa.cache_format import Cache, LosaError, Split
from losa.cache_format.common.units import readable
from losa.cache_format.storage.paths import is_remote

_log = logging.getLogger(__name__)

Residency = Literal["gpu", "ram", "stream"]

RESIDENT_MEMORY_DIVISOR = 2
"""``auto`` uses at most the free memory divided by this: side networks and batches need room too."""


def choose_residency(
    requested: Residency | Literal["auto"], split: Split, *, images: int, epochs: int, device: str
) -> Residency:
    """Choose the residency by sizes, or check the requested one. The choice is logged with its reason.

    Args:
        requested: the option.
        split: the split.
        images: number of images that are read from it.
        epochs: number of times that they are read.
        device: the compute device.

    Raises:
        LosaError: the requested residency is impossible.
    """
    if requested == "auto":
        residency, why = _choose(split.cache, images * split.image_bytes, epochs, device)
    else:
        refuse_impossible_residency(requested, split, images=images, device=device)
        residency, why = requested, "as requested"
    codes = _codes(images, split)
    _log.info("residency=%s: %s %s; %s", residency, codes, _VERB_PHRASES[residency], why)
    return residency


def refuse_impossible_residency(
    requested: Residency | Literal["auto"], split: Split, *, images: int, device: str
) -> None:
    """Refuse a residency that is impossible.

    Args:
        requested: the option.
        split: the split.
        images: number of images that are read from it.
        device: the compute device.

    Raises:
        LosaError: the codes do not fit, or there is no GPU.
    """
    if requested in ("auto", "stream"):
        return
    if requested == "gpu" and not is_cuda(device):
        raise LosaError(
            f"residency=gpu: expected a CUDA device, found device={device}: "
            "use device=cuda where there is one, or residency=auto"
        )
    free, where = (
        (free_on_gpu(device), f"on {device}") if requested == "gpu" else (free_in_ram(), "in memory")
    )
    if images * split.image_bytes > free:
        raise LosaError(
            f"residency={requested}: {split.cache.path}: {_codes(images, split)} do not fit: only "
            f"{readable(free)} are free {where}; use residency=auto or stream, or fewer sites (sites=4)"
        )


_VERB_PHRASES = {
    "gpu": "stay on the GPU",
    "ram": "stay in memory",
    "stream": "are read from the cache in every epoch",
}


def _choose(cache: Cache, need: int, epochs: int, device: str) -> tuple[Residency, str]:
    if epochs == 1:
        return "stream", "there is one epoch"
    if is_cuda(device):
        free = free_on_gpu(device)
        if need * RESIDENT_MEMORY_DIVISOR <= free:
            return "gpu", f"{readable(free)} are free there"
    if is_remote(cache.path):
        costly = "the cache is remote"
    elif cache.manifest.compressor is not None:
        costly = f"the cache is compressed ({cache.manifest.compressor})"
    else:
        return "stream", "the cache is local and not compressed, so they are read at the speed of memory"
    free = free_in_ram()
    if need * RESIDENT_MEMORY_DIVISOR <= free:
        return "ram", f"{costly}, and {readable(free)} of memory are free"
    return "stream", f"{costly}, but only {readable(free)} of memory are free"


def _codes(images: int, split: Split) -> str:
    return f"codes of {images:,} images of split {split.name!r} ({readable(images * split.image_bytes)})"
