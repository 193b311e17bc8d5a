"""The accuracy of LoRA through the live backbone, trained as `losa-adapt` trains side networks."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from rich.console import Group
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from losa.adapt.data.order import batch_count, ordered_batches, shuffled_batches
from losa.adapt.training.schedule import warmup_cosine
from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.emulated_dtypes import EMULATED_RATIO, slowdown
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.extract import BackboneConfig, DatasetConfig, load_backbone, open_source
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.precision import precision
from losa.extract.preprocessing import Transform, make_transform
from losa.pipelines.bench.lora.model import TARGETS, add_lora
from losa.pipelines.bench.machine import available_memory
from losa.pipelines.bench.matrix_rate import Dtype


@dataclass(frozen=True, kw_only=True)
class LoraAccuracy:
    """Data, backbone and training options. Defaults are those of `losa-adapt` where both have an option."""

    root: str
    backbone: str
    checkpoint: str | None = None
    pretrained: bool = True
    train_split: str = "train800val200"
    test_split: str = "test"
    rank: int = 8
    targets: Sequence[str] = TARGETS
    lr: float = 3e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    epochs: int = 20
    batch: int = 50
    seeds: Sequence[int] = (0,)
    """Each one initialises a member and orders its images."""
    dtype: str = "bfloat16"
    device: str = "auto"
    seconds: float = 24 * 60 * 60
    """Time limit of a training: one that would take longer is refused after its first steps."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be trained."""
        for option, number in (
            ("--rank", self.rank),
            ("--lr", self.lr),
            ("--epochs", self.epochs),
            ("--batch", self.batch),
            ("--seconds", self.seconds),
        ):
            if number <= 0:
                raise LosaError(f"{option} {number}: expected more than 0")
        if self.dtype not in get_args(Dtype):
            raise LosaError(f"--dtype {self.dtype}: expected one of {', '.join(get_args(Dtype))}")

    def run(self) -> list[dict[str, Any]]:
        """Train a member for each seed and score it on the test split.

        Images are decoded once, by the transform of extraction, and stay in memory as inputs of the network.
        A row has ``seed``, ``emulated`` (whether this machine emulates the dtype), ``test_accuracy``,
        ``train_accuracy`` (over the last epoch's batches, while training), ``parameters`` (number of trained
        ones), ``seconds`` (of training, decoding and scoring excluded) and ``seconds_per_epoch``.

        Raises:
            LosaError: an option is wrong, peft is missing, the images do not fit into memory, the training
                would take too long, or the loss became NaN or infinite.
        """
        device = resolve_device(self.device)
        ratio = slowdown(self.dtype, device)
        emulated = ratio > EMULATED_RATIO
        if emulated:
            print(
                f"warning: {self.dtype} is emulated on this machine, where its matrix products take "
                f"{ratio:.0f} times as long as in float32: --dtype float32 is faster",
                file=sys.stderr,
            )
        source = open_source(DatasetConfig(kind="lists", name="lists", root=self.root))
        config = BackboneConfig(name=self.backbone, checkpoint=self.checkpoint, pretrained=self.pretrained)
        preprocessing = load_backbone(config).preprocessing
        transform = make_transform(preprocessing)
        splits = [source.contents(name) for name in (self.train_split, self.test_split)]
        _refuse_if_memory_is_short(
            sum(len(split.keys) for split in splits) * 4 * int(np.prod(preprocessing.input_size))
        )
        loader = ImageLoader(source, DEFAULT_DECODING)
        train, test = (
            (_decode_all(loader, split.keys, transform), split.labels["label"]) for split in splits
        )
        rows = []
        for seed in self.seeds:
            (column,) = source.columns
            model = add_lora(
                load_backbone(config).model,
                rank=self.rank,
                targets=self.targets,
                num_classes=column.num_classes,
                seed=seed,
            ).to(device)
            start = time.perf_counter()
            train_accuracy = self._train(model, *train, seed, device)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "seed": seed,
                    "emulated": emulated,
                    "test_accuracy": self._score(model, *test, device),
                    "train_accuracy": train_accuracy,
                    "parameters": sum(
                        weight.numel() for weight in model.parameters() if weight.requires_grad
                    ),
                    "seconds": seconds,
                    "seconds_per_epoch": seconds / self.epochs,
                }
            )
        return rows

    def _train(
        self,
        model: nn.Module,
        images: Float[Tensor, "images channels height columns"],
        labels: Int64[np.ndarray, "images"],
        seed: int,
        device: str,
    ) -> float:
        """Train in place and return the accuracy over the last epoch."""
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        groups = [
            {
                "params": [weight for name, weight in trained.items() if name.endswith("bias") is free],
                "weight_decay": decay,
            }
            for free, decay in ((False, self.weight_decay), (True, 0.0))
        ]
        optimizer = AdamW(groups, lr=self.lr)
        steps = self.epochs * batch_count(len(images), self.batch)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(min(step, steps - 1), steps, self.warmup)
        )
        correct = 0
        pace = _Pace(steps, self.seconds)
        with progress_bar(steps, f"LoRA, seed {seed}", "steps", leave=False) as bar:
            for epoch in range(self.epochs):
                correct, total = 0, 0.0
                for rows in shuffled_batches(len(images), self.batch, seed, epoch):
                    targets = torch.from_numpy(labels[rows]).to(device)
                    with precision(device, self.dtype):
                        scores = model(images[rows].to(device))
                    loss = functional.cross_entropy(scores.float(), targets)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    scheduler.step()
                    total += float(loss.detach())
                    correct += int((scores.detach().argmax(dim=-1) == targets).sum())
                    bar.update()
                    pace.refuse_if_too_slow()
                if not np.isfinite(total):
                    raise LosaError(
                        f"the loss became NaN or infinite in epoch {epoch} (--lr {self.lr:g}): use less"
                    )
        return correct / len(images)

    def _score(
        self,
        model: nn.Module,
        images: Float[Tensor, "images channels height columns"],
        labels: Int64[np.ndarray, "images"],
        device: str,
    ) -> float:
        correct = 0
        with torch.inference_mode(), precision(device, self.dtype):
            for rows in ordered_batches(len(images), self.batch):
                found = model(images[rows].to(device)).argmax(dim=-1).cpu().numpy()
                correct += int((found == labels[rows]).sum())
        return correct / len(images)


class _Pace:
    """Steps of a training, and the time limit that they have to keep to."""

    def __init__(self, steps: int, limit: float) -> None:
        self._steps, self._limit = steps, limit
        self._done, self._fastest = 0, float("inf")
        self._start = self._last = time.perf_counter()

    def refuse_if_too_slow(self) -> None:
        """Count a step; raise `LosaError` if even the fastest pace so far would exceed the limit."""
        now = time.perf_counter()
        self._done, self._fastest, self._last = self._done + 1, min(self._fastest, now - self._last), now
        expected = now - self._start + (self._steps - self._done) * self._fastest
        if expected > self._limit:
            raise LosaError(
                f"{self._steps} steps would take about {expected:.0f} s: expected at most {self._limit:g}. "
                "Use a larger --seconds, fewer --epochs, or --dtype float32 if bfloat16 is emulated"
            )


def _decode_all(
    loader: ImageLoader, keys: Sequence[str], transform: Transform
) -> Float[Tensor, "images channels height columns"]:
    """Load and transform the images of some keys."""
    first = transform(loader.load(keys[0]).image)
    images = first.new_empty(len(keys), *first.shape)
    for row, key in enumerate(keys):
        images[row] = transform(loader.load(key).image)
    return images


def render_accuracy(rows: Sequence[dict[str, Any]], settings: LoraAccuracy) -> Group:
    """Show the rows as a table between the settings and the mean accuracy."""
    table = Table()
    for title in ("seed", "test accuracy", "training accuracy", "parameters", "seconds", "seconds/epoch"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["seed"]),
            f"{row['test_accuracy']:.2%}",
            f"{row['train_accuracy']:.2%}",
            f"{row['parameters']:,}",
            f"{row['seconds']:.1f}",
            f"{row['seconds_per_epoch']:.1f}",
        )
    found = [row["test_accuracy"] for row in rows]
    dtype = f"emulated {settings.dtype}" if any(row["emulated"] for row in rows) else settings.dtype
    spread = f" +- {stdev(found):.2%}" if len(found) > 1 else ""
    return Group(
        f"LoRA of rank {settings.rank} on {', '.join(settings.targets)} of {settings.backbone}, live, "
        f"{dtype}: {settings.epochs} epochs of {settings.train_split}, batch {settings.batch}, "
        f"lr {settings.lr:g}.",
        table,
        f"{settings.test_split}: {mean(found):.2%}{spread} (mean{' and standard deviation' * bool(spread)})",
    )


def _refuse_if_memory_is_short(needed: int) -> None:
    available = available_memory()
    if available is not None and needed > available:
        raise LosaError(
            f"the decoded images take {readable(needed)}, {readable(available)} of memory are available"
        )
