"""One training through the live backbone: optimiser, schedule and batches are those of losa-adapt."""

import time
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
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
from losa.pipelines.bench.live.methods import Method
from losa.pipelines.bench.matrix_rate import Dtype

_DEFAULTS = AdaptConfig(cache="any")
FULL_WEIGHT_DECAY = 0.05
"""Of full fine-tuning, the usual one of vision transformers: that of losa-adapt would make the pretrained
weights a third of what they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What the trainings of a comparison share. The defaults are those of losa-adapt."""

    epochs: int = _DEFAULTS.epochs
    batch: int = _DEFAULTS.batch_size
    weight_decay: float | None = None
    """Of AdamW, without biases; None for the default of losa-adapt, and `FULL_WEIGHT_DECAY` for full
    fine-tuning."""
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

    def decay(self, method: Method, lr: float, images: int) -> float:
        """The weight decay of a training; that of losa-adapt depends on the learning rate and the steps."""
        if self.weight_decay is not None:
            return self.weight_decay
        if method == "full":
            return FULL_WEIGHT_DECAY
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
    weight_decay: float,
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
        weight_decay: that of AdamW.
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
    take = TrainingStep(model, options, lr=lr, weight_decay=weight_decay, steps=steps, device=device)
    correct, loss_sum = 0, 0.0
    pace = _Pace(steps, seconds)
    start = time.perf_counter()
    with progress_bar(steps, description, "steps", leave=False) as bar:
        for epoch in range(options.epochs):
            correct, loss_sum = 0, 0.0
            for positions in shuffled_batches(images, options.batch, seed, epoch):
                inputs, targets = data.batch(split, positions, device)
                loss, right = take(inputs, targets)
                loss_sum += loss * len(positions)
                correct += right
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


class TrainingStep:
    """A step of a training: forward, backward, AdamW and the learning rate's schedule."""

    def __init__(
        self,
        model: nn.Module,
        options: TrainingOptions,
        *,
        lr: float,
        weight_decay: float,
        steps: int,
        device: str,
        micro_batch: int | None = None,
    ) -> None:
        """Make the optimiser of what requires gradients; nothing is computed yet.

        Args:
            model: maps images to class scores; on the device.
            options: those of the training.
            lr: highest learning rate.
            weight_decay: that of AdamW, without biases.
            steps: number of steps of the whole training.
            device: where to train.
            micro_batch: images that are computed at once, before gradients are added; None: the whole batch.
        """
        self._model, self._options = model, options
        self._device, self._micro_batch = device, micro_batch
        self._optimizer = AdamW(_groups(model, weight_decay), lr=lr)
        # The last call of the scheduler is for a step that is not taken.
        self._scheduler = LambdaLR(
            self._optimizer, lambda step: warmup_cosine(min(step, steps - 1), steps, options.warmup)
        )

    def __call__(
        self, inputs: Float[Tensor, "batch channels height columns"], targets: Int64[Tensor, "batch"]
    ) -> tuple[float, int]:
        """Change the model by a batch.

        Returns:
            The mean loss before the change, and how many images the model classified correctly.
        """
        self._optimizer.zero_grad()
        loss_sum, correct = 0.0, 0
        at_once = self._micro_batch or len(targets)
        for images, labels in zip(inputs.split(at_once), targets.split(at_once), strict=True):
            with precision(self._device, self._options.dtype):
                scores = self._model(images)
            loss = functional.cross_entropy(scores.float(), labels) * (len(labels) / len(targets))
            loss.backward()
            loss_sum += float(loss.detach())
            correct += int((scores.detach().argmax(dim=-1) == labels).sum())
        self._optimizer.step()
        self._scheduler.step()
        return loss_sum, correct


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
