"""Where the codes stay that every epoch reads: on the GPU, in memory, or in the cache alone."""

import logging
from typing import Literal

from losa.adapt.free_memory import free_in_ram, free_on_gpu, is_cuda
from losa.cache_format import Cache, LosaError, Split
from losa.cache_format.common.units import readable
from losa.cache_format.storage.paths import is_remote

_log = logging.getLogger(__name__)

Residency = Literal["gpu", "ram", "stream"]

SHARE = 2
"""``auto`` takes at most one part in so many of what is free: side networks and batches need room too."""


def choose_residency(
    asked: Residency | Literal["auto"], split: Split, *, images: int, epochs: int, device: str
) -> Residency:
    """Choose from sizes, or check what was asked for. The choice is logged with its reason.

    Args:
        asked: the option.
        split: what is read.
        images: how many of its images every epoch reads.
        epochs: how often it does.
        device: the compute device.

    Raises:
        LosaError: what was asked for cannot be.
    """
    if asked == "auto":
        residency, why = _choose(split.cache, images * split.image_bytes, epochs, device)
    else:
        refuse_impossible(asked, split, images=images, device=device)
        residency, why = asked, "as asked"
    codes = _codes(images, split)
    _log.info("residency=%s: %s %s; %s", residency, codes, _WHAT_HAPPENS[residency], why)
    return residency


def refuse_impossible(asked: Residency | Literal["auto"], split: Split, *, images: int, device: str) -> None:
    """Refuse what was asked for if it cannot be.

    Args:
        asked: the option.
        split: what is read.
        images: how many of its images every epoch reads.
        device: the compute device.

    Raises:
        LosaError: it cannot be.
    """
    if asked in ("auto", "stream"):
        return
    if asked == "gpu" and not is_cuda(device):
        raise LosaError(
            f"residency=gpu: expected a CUDA device, found device={device}: "
            "use device=cuda where there is one, or residency=auto"
        )
    free, where = (free_on_gpu(device), f"on {device}") if asked == "gpu" else (free_in_ram(), "in memory")
    if images * split.image_bytes > free:
        raise LosaError(
            f"residency={asked}: {split.cache.path}: {_codes(images, split)} do not fit: only "
            f"{readable(free)} are free {where}; use residency=auto or stream, or fewer sites (sites=4)"
        )


_WHAT_HAPPENS = {
    "gpu": "stay on the GPU",
    "ram": "stay in memory",
    "stream": "are read from the cache in every epoch",
}


def _choose(cache: Cache, need: int, epochs: int, device: str) -> tuple[Residency, str]:
    if epochs == 1:
        return "stream", "there is one epoch"
    if is_cuda(device):
        free = free_on_gpu(device)
        if need * SHARE <= free:
            return "gpu", f"{readable(free)} are free there"
    if is_remote(cache.path):
        costly = "the cache is remote"
    elif cache.manifest.compressor is not None:
        costly = f"the cache is compressed ({cache.manifest.compressor})"
    else:
        return "stream", "the cache is local and not compressed, so they come at the speed of memory"
    free = free_in_ram()
    if need * SHARE <= free:
        return "ram", f"{costly}, and {readable(free)} of memory are free"
    return "stream", f"{costly}, but only {readable(free)} of memory are free"


def _codes(images: int, split: Split) -> str:
    return f"codes of {images:,} images ({readable(images * split.image_bytes)})"
