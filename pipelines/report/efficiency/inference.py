"""Speed and operations of a forward pass, from images to class scores."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from losa.adapt.kernels import left_to_torch
from losa.cache_format.common.timing import timed_calls
from losa.cache_format.identity import Preprocessing
from losa.extract.precision import precision
from losa.pipelines.report.efficiency.setting import Setting

Forward = Callable[[Tensor], object]
"""Maps images ``(images, channels, height, columns)`` to class scores."""


def measure_inference(
    forward: Forward, modules: Sequence[nn.Module], preprocessing: Preprocessing, setting: Setting
) -> dict[str, Any]:
    """Time batches of noise, which take as long as decoded photographs, and count operations.

    Args:
        forward: the forward pass.
        modules: what it uses, on the device; moved to the CPU.
        preprocessing: gives the size of the images.
        setting: batch, steps, time limit, dtype and device.

    Returns:
        ``images_per_s``, by the median batch, and ``gflops`` of an image, see `count_flops`.
    """
    shape = (setting.batch, *preprocessing.input_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(setting.device)
    with torch.inference_mode(), precision(setting.device, setting.dtype):
        found = timed_calls(
            lambda: forward(images), most=1 + setting.steps, seconds=setting.seconds, device=setting.device
        )
    for module in modules:
        module.to("cpu")
    return {
        "images_per_s": setting.batch / statistics.median(found[1:] or found),
        "gflops": count_flops(forward, images[:1].cpu()) / 1e9,
    }


def count_flops(forward: Forward, images: Tensor) -> int:
    """Floating point operations of a forward pass on the CPU, by torch's counter.

    Matrix products, convolutions and attention count, a multiplication with its addition as two; norms, GELU
    and softmax do not.

    Args:
        forward: the forward pass.
        images: images on the CPU.
    """
    # Attention as products of matrices: the counter does not know fused kernels, torch's on CPUs and ours.
    in_products = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(), left_to_torch(), in_products, FlopCounterMode(display=False) as counter:
        forward(images)
    return int(counter.get_total_flops())
