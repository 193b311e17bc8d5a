"""Floating point operations of a step, as each method's own algorithm needs them, and what a machine can do.

A product of (a x b) with (b x c) counts as ``2 a b c``. Only matrix products are counted; norms, GELU,
softmax, head and optimiser are not. So the fraction of the machine's rate that a method reaches includes
all its other work as a loss.
"""

import time

import torch

from losa.pipelines.bench.fused.setting import Dtype, Setting

PEAK_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}


def useful_flops(setting: Setting) -> float:
    """Of one member-step: forward and backward of one member for one batch."""
    if setting.method == "lora":
        return setting.batch * _lora(setting)
    if setting.method == "factored":
        return setting.batch * (_base(setting) + _cross(setting) + _attention(setting))
    return setting.batch * (_materialised(setting) + _attention(setting))


def _base(setting: Setting) -> float:
    """Factored, for one image: products with the frozen features, forward and for the weights' gradients.

    LoSA has two of them in a layer (``W base^T``, ``T base``), LAST one with three times the rank.
    """
    rows = (2 if setting.side == "losa" else 3) * setting.rank
    return 2 * setting.sites * 2 * rows * setting.tokens * setting.width


def _cross(setting: Setting) -> float:
    """Factored, for one image: products with the earlier updates; backward has two for each of forward's.

    Layer ``i`` of LoSA sees the updates of ``2 i`` mixes before its first, ``2 i + 1`` before its second. An
    update has one factor for each image and one for the batch. Summing over the image's own factor is a
    product of every image; over the batch's factor it is one for all, which is not counted.
    """
    rank, tokens, width = setting.rank, setting.tokens, setting.width
    total = 0.0
    for layer in range(setting.sites):
        if setting.side == "last":
            total += 2 * (3 * rank) * (rank * layer) * tokens
            continue
        of_channels, of_tokens = rank * layer, rank * layer
        # W v^T with each image's v, then with all u.
        total += 2 * rank * (of_tokens * width + (of_channels + of_tokens) * tokens)
        of_channels += rank
        # T u^T with each image's u, then with all v.
        total += 2 * rank * (of_channels * tokens + (of_channels + of_tokens) * width)
    return 3 * total


def _materialised(setting: Setting) -> float:
    """Plain, for one image: down and up; backward has two products for each of forward's.

    LoSA does both twice in a layer, LAST once, down to three times the rank.
    """
    rows = 4 * setting.rank
    return 3 * setting.sites * 2 * rows * setting.tokens * setting.width


def _attention(setting: Setting) -> float:
    """LAST, for one image: queries with keys, weights with values; backward twice as many."""
    if setting.side == "losa":
        return 0.0
    return 3 * setting.sites * 2 * 2 * setting.tokens**2 * setting.rank


def _lora(setting: Setting) -> float:
    """For one image: blocks forward and backward without gradients of frozen weights, and the updates."""
    tokens, width = setting.tokens, setting.width
    frozen = 2 * 2 * tokens * 12 * width**2
    attention = 3 * 2 * 2 * tokens**2 * width
    updates = 3 * 2 * tokens * setting.rank * (width + 3 * width)
    return setting.depth * (frozen + attention + updates)


def matmul_rate(dtype: Dtype, device: str, repeats: int = 10) -> float:
    """Best rate of square matrix products found, in operations a second."""
    best = 0.0
    for size in PEAK_SIZES[device.partition(":")[0]]:
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        for _ in range(repeats):
            synchronise(device)
            start = time.perf_counter()
            torch.matmul(a, b)
            synchronise(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
