"""The cost of training a side network from the cache, and of using it."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from losa.adapt import AdaptConfig, FrozenFeatures, Job, LabelledActivations, Trainer
from losa.adapt.data.split_union import open_union
from losa.adapt.members.pass_data import PassData
from losa.adapt.members.pass_threads import pass_threads
from losa.adapt.members.passes import make_groups
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.training.losses import make_objective
from losa.cache_format.common.timing import synchronise
from losa.extract import load_backbone
from losa.pipelines.bench.peak_memory import PeakMemory
from losa.pipelines.report.efficiency.inference import measure_inference
from losa.pipelines.report.efficiency.setting import Setting


def measure_cached(setting: Setting) -> Iterator[dict[str, Any]]:
    """Train a side network for a few steps as losa-adapt does, then let it follow the backbone.

    Yields:
        The figures:

        - ``parameters`` that are trained, and ``head_parameters`` among them;
        - ``step_seconds`` of each step after the first, its number of images (``step_images``), and how many
          of them are computed at once (``micro_batch``);
        - ``peak_bytes`` of memory, without a backbone;
        - ``cache_bytes`` that an epoch reads;
        - ``threads``;
        - those of `measure_inference`.

    Raises:
        LosaError: the side network does not fit the cache.
    """
    config = AdaptConfig(
        cache=setting.cache,
        side=setting.method,
        rank=setting.rank,
        sites=setting.sites,
        train_split=setting.train_split,
        eval_split=setting.train_split,
        batch_size=setting.batch,
        dtype=setting.dtype,
        device=setting.device,
        threads=setting.threads or "auto",
    )
    prepared = JobPreparer().prepare(Job(config, Path(setting.method)))
    with pass_threads([prepared], lambda: math.inf) as threads:
        # Loads modules and libraries, which take memory once, and says how long a step takes.
        (first,) = _step_seconds(prepared, setting, steps=1)[1]
        memory = PeakMemory(setting.device)
        steps = min(1 + setting.steps, max(1, int(setting.seconds / first)))
        trainer, seconds = _step_seconds(prepared, setting, steps=steps)
        peak = memory.taken()
    (group,) = trainer.groups
    split = open_union(prepared.cache, [setting.train_split], 1, prepared.features.sites)
    training = {
        "parameters": group.network.parameter_count(),
        "head_parameters": group.network.head_parameter_count(),
        "step_seconds": seconds[1:] or seconds,
        "step_images": setting.batch,
        "micro_batch": trainer.micro_batch_size,
        "peak_bytes": peak,
        "cache_bytes": len(prepared.training) * split.image_bytes,
        "threads": threads,
    }
    network = group.network.eval().requires_grad_(False)
    backbone = load_backbone(setting.backbone_config)
    backbone.model.to(setting.device)

    def forward(images: Tensor) -> Tensor:
        sites = prepared.features.sites
        activations = backbone.activations(images, sites).float()
        with torch.autocast(images.device.type, enabled=False):  # the dtype is that of the backbone alone
            scores: Tensor = network(FrozenFeatures(activations, sites=sites))
        return scores

    yield training | measure_inference(forward, [backbone.model, network], backbone.preprocessing, setting)


def _step_seconds(prepared: PreparedJob, setting: Setting, *, steps: int) -> tuple[Trainer, list[float]]:
    """The seconds of each step of a new training, from the cache to the changed parameters."""
    data = _some(PassData([prepared]).load_training(), steps * setting.batch)
    trainer = Trainer(
        make_groups({0: prepared}),
        data,
        make_objective(
            [column.num_classes for column in prepared.columns],
            prepared.training.labels,
            balanced=False,
            device=setting.device,
        ),
        prepared.config,
        micro_batch_size=setting.micro_batch,
    )
    synchronise(setting.device)
    times = [time.perf_counter()]

    def after_step(_images: int) -> None:
        synchronise(setting.device)
        times.append(time.perf_counter())

    trainer.epoch(0, after_step)
    return trainer, [after - before for before, after in itertools.pairwise(times)]


def _some(data: LabelledActivations, images: int) -> LabelledActivations:
    """So many of the images; if there are fewer, they are repeated."""
    rows = np.resize(np.arange(len(data)), images)
    chosen = replace(data.images, positions=data.images.positions[rows], labels=data.images.labels[rows])
    return replace(data, images=chosen)
