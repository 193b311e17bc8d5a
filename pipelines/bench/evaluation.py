"""The cost of judging many side networks on images that no cache has, against a pass of the bare backbone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from losa.adapt import (
    ActivationBatch,
    FeatureSpec,
    StackedSideNetworks,
    TrainedSideNetwork,
    make_side_network,
    score,
    stack_side_networks,
)
from losa.adapt.architecture import Architecture
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LabelColumn, LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.timing import timed_calls
from losa.extract import BackboneConfig, FrozenBackbone, load_backbone
from losa.extract.decoding import decode
from losa.extract.forward_pass import in_batches
from losa.extract.loader import ImageLoader
from losa.extract.precision import precision
from losa.extract.preprocessing import make_transform
from losa.extract.sources.image_files import ImageFiles
from losa.pipelines.bench.unknown_names import refuse_unknown
from losa.pipelines.evaluation.judge import Judge
from losa.pipelines.predict.images import find_images

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class EvaluationBenchmark:
    """The backbone, the side networks on it, and the images."""

    backbone: str = "deit_tiny_patch16_224"
    checkpoint: str | None = None
    """File of the weights; None: random weights, which take the same time."""
    sites: int | str = 4
    sides: Sequence[str] = ("losa", "last", "relay", "lst", "linear", "mlp")
    ranks: Sequence[int] = (4, 8)
    seeds: int = 2
    """Side networks of each kind and rank."""
    folder: str | None = None
    """Folder of photographs, which are decoded in every pass; None: noise, decoded already."""
    images: int = 128
    batch: int = 32
    workers: int = 0
    rounds: int = 5
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse options that cannot be measured."""
        refuse_unknown("--side", self.sides, SIDE_NETWORKS)
        for option in ("seeds", "images", "batch", "rounds"):
            if getattr(self, option) <= 0:
                raise LosaError(f"--{option} {getattr(self, option)}: expected more than 0")

    def run(self) -> list[dict[str, Any]]:
        """Time both, in turn.

        A row has ``method`` (``backbone``, or ``evaluate`` with the number of side networks),
        ``images_per_s`` (median over rounds) and ``ratio_to_backbone`` (median over rounds of the ratio of
        its time to that of the bare backbone in the same round).
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = resolve_device(self.device)
        backbone = load_backbone(
            BackboneConfig(name=self.backbone, checkpoint=self.checkpoint, pretrained=False)
        )
        backbone.model.to(device)
        networks = self._networks(backbone).to(device)
        inputs = self._inputs(backbone, device)
        methods: dict[str, Callable[[], None]] = {
            "backbone": lambda: _bare(backbone, inputs),
            f"evaluate {len(networks)}": lambda: _evaluated(backbone, networks, inputs, device),
        }
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        for number in range(self.rounds + 1):
            for name, method in methods.items():
                (found,) = timed_calls(method, most=1, seconds=0, device=device)
                if number:  # the first round warms up
                    seconds[name].append(found)
        return [
            {
                "method": name,
                "images_per_s": len(inputs) / median(found),
                "ratio_to_backbone": median(
                    one / bare for one, bare in zip(found, seconds["backbone"], strict=True)
                ),
            }
            for name, found in seconds.items()
        ]

    def _networks(self, backbone: FrozenBackbone) -> StackedSideNetworks:
        """Untrained side networks, whose parameters take the same time as trained ones."""
        group = backbone.group(self.sites)
        features = FeatureSpec(
            sites=group.sites,
            tokens=group.tokens,
            width=group.width,
            final_norm=backbone.final_norm,
            constants=backbone.final_norm_constants,
        )
        column = LabelColumn(name="label", num_classes=CLASSES)
        trained = {}
        for side, rank, seed in product(self.sides, self.ranks, range(self.seeds)):
            architecture = Architecture(
                side=side,
                rank=rank,
                heads=4,
                order="channel_token",
                norm="frozen",
                pool="cls" if group.tokens.cls else "mean",
                bias=False,
                start="last",
            )
            trained[f"{side}-r{rank}-seed{seed}"] = TrainedSideNetwork(
                network=make_side_network(architecture, features, CLASSES, [seed]).eval(),
                columns=(column,),
                backbone=backbone.identity,
                preprocessing=backbone.preprocessing,
                features_sha256="",
                tensors_sha256="",
            )
        return stack_side_networks(trained)

    def _inputs(self, backbone: FrozenBackbone, device: str) -> "_Noise | _Photographs":
        if self.folder is None:
            generator = torch.Generator().manual_seed(0)
            shape = (self.images, *backbone.preprocessing.input_size)
            return _Noise(torch.randn(shape, generator=generator).to(device), self.batch)
        files = find_images([self.folder]).files[: self.images]
        return _Photographs(backbone, files, self.batch, self.workers, device)


@dataclass(frozen=True, slots=True)
class _Noise:
    images: Tensor
    batch: int

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.images.split(self.batch))


@dataclass(frozen=True, slots=True)
class _Photographs:
    backbone: FrozenBackbone
    files: Sequence[str]
    batch: int
    workers: int
    device: str

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Tensor]:
        preprocessing = self.backbone.preprocessing
        decoded = decode(
            ImageLoader(ImageFiles(), preprocessing.decoding),
            make_transform(preprocessing),
            in_batches(self.files, self.batch),
            input_size=preprocessing.input_size,
            workers=self.workers,
            pin_memory=self.device != "cpu",
        )
        with closing(decoded) as batches:
            for batch in batches:
                yield batch.images.to(self.device)


@dataclass(frozen=True, slots=True)
class _Activations:
    """The activations of inputs, as an `ActivationStream`."""

    backbone: FrozenBackbone
    inputs: "_Noise | _Photographs"
    sites: tuple[str, ...]

    def __iter__(self) -> Iterator[ActivationBatch]:
        for images in self.inputs:
            with precision(images.device.type, "float32"):
                activations = self.backbone.activations(images, self.sites)
            yield ActivationBatch([""] * len(images), activations)


@dataclass(frozen=True, slots=True)
class _Labels:
    """What `Judge` needs to know of images: labels, which are the same for all."""

    labels: dict[str, np.ndarray]
    columns: tuple[LabelColumn, ...] = (LabelColumn(name="label", num_classes=CLASSES),)
    name: str = "noise"


def _bare(backbone: FrozenBackbone, inputs: "_Noise | _Photographs") -> None:
    with torch.inference_mode(), precision(next(backbone.model.parameters()).device.type, "float32"):
        for images in inputs:
            cast(Any, backbone.model).forward_features(images)


def _evaluated(
    backbone: FrozenBackbone, networks: StackedSideNetworks, inputs: "_Noise | _Photographs", device: str
) -> None:
    labels = _Labels({"label": np.zeros(len(inputs), np.int64)})
    judge = Judge(networks, labels, device)
    first = 0
    for batch in score(networks, _Activations(backbone, inputs, networks.sites)):
        judge.add(batch.scores, np.arange(first, first + len(batch.keys)))
        first += len(batch.keys)
    judge.figures()


def render_evaluation(rows: Sequence[dict[str, Any]], benchmark: EvaluationBenchmark) -> Table:
    """The rows as a table."""
    title = (
        f"{benchmark.backbone}, {benchmark.sites} sites, {benchmark.images} images in batches of "
        f"{benchmark.batch}: medians of {benchmark.rounds} rounds"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    table.add_column("images/s", justify="right")
    table.add_column("ratio to backbone", justify="right")
    for row in rows:
        table.add_row(row["method"], f"{row['images_per_s']:.1f}", f"{row['ratio_to_backbone']:.2f}")
    return table
