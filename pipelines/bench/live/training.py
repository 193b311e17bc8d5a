"""One training through the live backbone: optimiser, schedule and batches are those of losa-adapt."""

import time
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from losa.adapt import AdaptConfig
from losa.adapt.data.order import batch_count, ordered_batches, shuffled_batches
from losa.adapt.training.optimizers import skips_weight_decay
from losa.adapt.training.schedule import warmup_cosine
from losa.cache_format import LosaError
from losa.cache_format.common.progress import progress_bar
from losa.extract.precision import precision
from losa.pipelines.bench.live.data import LiveData
from losa.pipelines.bench.matrix_rate import Dtype

_DEFAULTS = AdaptConfig(cache="any")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What the trainings of a comparison share. The defaults are those of losa-adapt."""

    epochs: int = _DEFAULTS.epochs
    batch: int = _DEFAULTS.batch_size
    weight_decay: float | None = None
    """Of AdamW, without biases; None for the default of losa-adapt."""
    warmup: float = _DEFAULTS.warmup
    """Fraction of the steps in which the learning rate rises, before half a cosine."""
    dtype: str = _DEFAULTS.dtype
    """bfloat16 is torch's autocast."""

    def __post_init__(self) -> None:
        """Refuse options with which nothing can be trained."""
        for option, number in (("--epochs", self.epochs), ("--batch", self.batch)):
            if number < 1:
                raise LosaError(f"{option} {number}: expected at least 1")
        if self.weight_decay is not None and not self.weight_decay >= 0:
            raise LosaError(f"--weight-decay {self.weight_decay}: expected 0 or more")
        if not 0 <= self.warmup < 1:
            raise LosaError(f"--warmup {self.warmup}: expected at least 0 and less than 1")
        if self.dtype not in get_args(Dtype):
            raise LosaError(f"--dtype {self.dtype}: expected one of {', '.join(get_args(Dtype))}")

    def steps(self, images: int) -> int:
        """Number of steps of a training on so many images."""
        return self.epochs * batch_count(images, self.batch)

    def decay(self, lr: float, images: int) -> float:
        """The weight decay of a training; that of losa-adapt depends on the learning rate and the steps."""
        if self.weight_decay is not None:
            return self.weight_decay
        return replace(_DEFAULTS, lr=lr).weight_decay_over(self.steps(images))


class Diverged(LosaError):  # noqa: N818 -- reads as a sentence: "raise Diverged"
    """The loss became NaN or infinite."""


def train(
    model: nn.Module,
    data: LiveData,
    split: str,
    options: TrainingOptions,
    *,
    lr: float,
    seed: int,
    device: str,
    seconds: float,
    description: str,
) -> dict[str, Any]:
    """Train in place what requires gradients.

    Args:
        model: maps images to class scores; on the device.
        data: the images.
        split: the split to train on.
        options: the other options.
        lr: highest learning rate.
        seed: orders the images.
        device: where to train.
        seconds: time limit: a training that would take longer is refused after its first steps.
        description: text before the progress bar.

    Returns:
        ``train_loss`` and ``train_accuracy`` over the last epoch's batches, while training; ``seconds``, and
        ``seconds_per_epoch``; ``threads`` of torch.

    Raises:
        Diverged: the loss became NaN or infinite.
        LosaError: the training would take too long, or an image cannot be decoded.
    """
    data.decode()  # which the seconds do not include
    images = len(data.labels(split))
    steps = options.steps(images)
    optimizer = AdamW(_groups(model, options.decay(lr, images)), lr=lr)
    # The last call of the scheduler is for a step that is not taken.
    scheduler = LambdaLR(optimizer, lambda step: warmup_cosine(min(step, steps - 1), steps, options.warmup))
    correct, loss_sum = 0, 0.0
    pace = _Pace(steps, seconds)
    start = time.perf_counter()
    with progress_bar(steps, description, "steps", leave=False) as bar:
        for epoch in range(options.epochs):
            correct, loss_sum = 0, 0.0
            for positions in shuffled_batches(images, options.batch, seed, epoch):
                inputs, targets = data.batch(split, positions, device)
                with precision(device, options.dtype):
                    scores = model(inputs)
                loss = functional.cross_entropy(scores.float(), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                loss_sum += float(loss.detach()) * len(positions)
                correct += int((scores.detach().argmax(dim=-1) == targets).sum())
                bar.update()
                pace.refuse_if_too_slow()
            if not np.isfinite(loss_sum):
                raise Diverged(f"the loss became NaN or infinite in epoch {epoch + 1}")
    taken = time.perf_counter() - start
    return {
        "train_loss": loss_sum / images,
        "train_accuracy": correct / images,
        "seconds": taken,
        "seconds_per_epoch": taken / options.epochs,
        "threads": torch.get_num_threads(),
    }


def score(model: nn.Module, data: LiveData, split: str, options: TrainingOptions, device: str) -> float:
    """The accuracy of a model on a split, a fraction."""
    images, correct = len(data.labels(split)), 0
    with torch.inference_mode(), precision(device, options.dtype):
        for positions in ordered_batches(images, options.batch):
            inputs, targets = data.batch(split, positions, device)
            correct += int((model(inputs).argmax(dim=-1) == targets).sum())
    return correct / images


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters, with weight decay where losa-adapt has it."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    free = [weight for name, weight in trained.items() if skips_weight_decay(name)]
    decayed = [weight for name, weight in trained.items() if not skips_weight_decay(name)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


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
