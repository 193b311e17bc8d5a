"""The cost of training through the live backbone, and of the frozen backbone by itself."""

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from losa.adapt.free_memory import free_on
from losa.adapt.training.working_set import peak_bytes
from losa.cache_format import LosaError
from losa.cache_format.common.timing import timed_calls
from losa.extract import FrozenBackbone, load_backbone
from losa.pipelines.bench.live.data import LiveData
from losa.pipelines.bench.live.lora import merged
from losa.pipelines.bench.live.methods import RANKED, Method, make_model, trained_parameters
from losa.pipelines.bench.live.training import TrainingOptions, TrainingStep
from losa.pipelines.bench.peak_memory import PeakMemory
from losa.pipelines.report.efficiency.inference import measure_inference
from losa.pipelines.report.efficiency.setting import Setting

_LR = 1e-6
"""Of the measured steps, which need not learn: so small that none diverges."""
_STATES = 3
"""Tensors of the size of the trained parameters: their gradients, and two of AdamW."""


class DoesNotFit(Exception):  # noqa: N818 -- reads as a sentence: "raise DoesNotFit"
    """The free memory is too small for a measurement."""


def measure_live(setting: Setting) -> Iterator[dict[str, Any]]:
    """Train through the live backbone for a few steps, then use the model.

    Yields:
        First ``needed_bytes``, an estimate of the memory. Then the figures:

        - ``parameters`` that are trained, and ``head_parameters`` among them;
        - ``step_seconds`` of each step after the first, its number of images (``step_images``), and how many
          of them are computed at once (``micro_batch``);
        - ``peak_bytes`` of memory, without the images that are decoded before;
        - ``threads``;
        - those of `measure_inference`.

    Raises:
        DoesNotFit: the free memory is less than the estimate.
        LosaError: the method does not fit the backbone, or an image cannot be decoded.
    """
    backbone = load_backbone(setting.backbone_config)
    most = setting.batch * (1 + setting.steps)
    data = LiveData(Path(setting.data), [setting.train_split], backbone.preprocessing, most)
    data.decode()
    needed = _needed_bytes(setting, backbone, data)
    yield {"needed_bytes": needed}
    if needed > free_on(setting.device):
        raise DoesNotFit
    memory = PeakMemory(setting.device)
    model = _model(setting, backbone, data)
    step = _step(setting, model, setting.micro_batch)
    rows = np.resize(np.arange(len(data.labels(setting.train_split))), most)
    batches = itertools.cycle(np.split(rows, 1 + setting.steps))

    def next_step() -> None:
        step(*_batch(setting, data, next(batches)))

    seconds = timed_calls(next_step, most=1 + setting.steps, seconds=setting.seconds, device=setting.device)
    peak = memory.taken()
    head = cast(Any, backbone.model).num_features * data.column.num_classes + data.column.num_classes
    training = {
        "parameters": trained_parameters(model),
        "head_parameters": head,
        "step_seconds": seconds[1:] or seconds,
        "step_images": setting.batch,
        "micro_batch": setting.micro_batch or setting.batch,
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
    }
    used = merged(model)
    yield training | measure_inference(used, [used], backbone.preprocessing, setting)


def measure_backbone(setting: Setting) -> Iterator[dict[str, Any]]:
    """Use the frozen backbone, without a head.

    Yields:
        The figures of `measure_inference`.
    """
    backbone = load_backbone(setting.backbone_config)
    model = backbone.model.to(setting.device)
    forward = cast(Any, model).forward_features
    yield measure_inference(forward, [model], backbone.preprocessing, setting)


def _model(setting: Setting, backbone: FrozenBackbone, data: LiveData) -> nn.Module:
    live = cast(Any, copy.deepcopy(backbone.model))
    if setting.checkpointing:
        try:
            live.set_grad_checkpointing()
        except (AttributeError, AssertionError):
            raise LosaError(f"timm's {type(live).__name__} has no gradient checkpointing") from None
    method = cast(Method, setting.method)
    return make_model(
        method,
        live,
        rank=setting.rank if method in RANKED else None,
        targets=setting.targets,
        num_classes=data.column.num_classes,
        seed=0,
    ).to(setting.device)


def _step(setting: Setting, model: nn.Module, micro_batch: int | None) -> TrainingStep:
    options = TrainingOptions(batch=setting.batch, dtype=setting.dtype)
    return TrainingStep(
        model,
        options,
        lr=_LR,
        weight_decay=0.0,
        steps=1 + setting.steps,
        device=setting.device,
        micro_batch=micro_batch,
    )


def _batch(setting: Setting, data: LiveData, positions: Int64[np.ndarray, "batch"]) -> tuple[Any, Any]:
    return data.batch(setting.train_split, positions, setting.device)


def _needed_bytes(setting: Setting, backbone: FrozenBackbone, data: LiveData) -> int:
    """Memory of a training, from steps of one image and of two, which load modules and libraries, too."""
    model = _model(setting, backbone, data)
    step = _step(setting, model, None)
    one, two = (_batch(setting, data, np.zeros(images, np.int64)) for images in (1, 2))
    inputs: int = one[0].nbytes * setting.batch
    step(*one)
    first = peak_bytes(lambda: step(*one), setting.device)
    further = max(0, peak_bytes(lambda: step(*two), setting.device) - first)
    weights = sum(weight.nbytes for weight in model.parameters())
    states = _STATES * sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    at_once = min(setting.micro_batch or setting.batch, setting.batch)
    return weights + states + first + further * (at_once - 1) + inputs
