"""How a backbone computes: the option ``dtype`` of an extraction."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch

from losa.cache_format.common.emulated_dtypes import warn_if_emulated
from losa.cache_format.errors import LosaError
from losa.cache_format.identity import ComputeDtype


def check_precision(device: str, dtype: ComputeDtype) -> None:
    """Refuse a dtype that a device does not have, and warn of one that it only emulates.

    Raises:
        LosaError: TF32 is wanted of a device that is no GPU.
    """
    if dtype != "tf32":
        warn_if_emulated(dtype, device)
    elif torch.device(device).type != "cuda":
        raise LosaError(f"dtype=tf32 is a mode of GPUs, and device={device}: use dtype=float32")


@contextmanager
def precision(device: str, dtype: str) -> Iterator[None]:
    """A context in which a backbone computes.

    bfloat16 and float16 are torch's autocast. Operations in float32 are exact, although torch lets cuDNN
    round to TF32 (10 bits of mantissa) in convolutions; with tf32 they are rounded, in matrix products too.
    """
    with ExitStack() as changed:
        for owner, name, value in _switches(rounded=dtype == "tf32"):
            changed.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        if dtype not in ("float32", "tf32"):
            kind = torch.device(device).type
            changed.enter_context(torch.autocast(kind, dtype=getattr(torch, dtype)))
        yield


def _switches(*, rounded: bool) -> list[tuple[Any, str, str | bool]]:
    """Settings of torch for float32 operations: owner, name and value."""
    cudnn, matmul = cast(Any, torch.backends.cudnn), cast(Any, torch.backends.cuda).matmul
    # torch 2.9 has a precision setting for each operator; reading the older switch as well fails.
    if hasattr(cudnn, "conv"):
        value = "tf32" if rounded else "ieee"
        return [(cudnn.conv, "fp32_precision", value), (matmul, "fp32_precision", value)]
    return [(cudnn, "allow_tf32", rounded), (matmul, "allow_tf32", rounded)]
