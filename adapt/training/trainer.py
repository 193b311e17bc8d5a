"""The training loop: from activations to trained side networks. It needs no backbone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.data.activations import ActivationSource, Batch, read_ahead
from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.data.mixup import Mix, draw_mix
from losa.adapt.data.order import batch_count, ordered_batches, shuffled_batches
from losa.adapt.free_memory import is_cuda, is_out_of_memory
from losa.adapt.streams import FrozenFeatures
from losa.adapt.training.losses import Objective
from losa.adapt.training.member_group import MemberGroup
from losa.adapt.training.scores import ScoreKeeper, Scores
from losa.adapt.training.working_set import choose_micro_batch_size
from losa.cache_format.metadata.labels import MISSING_LABEL

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledActivations:
    """Labelled images to train on or to score, and the source of their activations."""

    source: ActivationSource
    images: LabelledImages
    sites: tuple[str, ...]
    """Names along the sites axis of the source's activations."""
    name: str = "the data"
    """Name in error messages."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def with_drawn_views(self, data_seed: int, epoch: int) -> "LabelledActivations":
        """The images, each in the view that an epoch shows."""
        return replace(self, images=self.images.with_drawn_views(data_seed, epoch))

    def read(self, batches: Sequence[Int64[np.ndarray, "_"]]) -> Iterator[Batch]:
        """Batches of images, given by their rows in `images`, read ahead of the consumer."""
        return read_ahead(self.source, [self.images.positions[rows] for rows in batches])


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEpoch:
    """Losses and accuracy of one member in one epoch."""

    epoch: int
    lr: float
    """Learning rate at the last step."""
    step_losses: Float[np.ndarray, "steps"]
    """Loss at each step."""
    train_accuracy: float
    """Accuracy over the batches of the epoch, each scored before its update, averaged over label columns.
    NaN with mixup, because a mixed image has no single label."""

    @property
    def train_loss(self) -> float:
        """Mean loss over the steps."""
        return float(self.step_losses.mean())

    @property
    def finite(self) -> bool:
        """Whether no loss was NaN or infinite."""
        return bool(np.isfinite(self.step_losses).all())


class Trainer:
    """Trains the members of one pass together; each epoch reads the features once for all of them.

    Members share batches, epochs, the order of images and mixup. All other options may differ.
    """

    def __init__(
        self,
        groups: Sequence[MemberGroup],
        data: LabelledActivations,
        objective: Objective,
        config: AdaptConfig,
        *,
        micro_batch_size: int | None = None,
    ) -> None:
        """Choose the micro-batch size, unless it is given.

        Args:
            groups: the members, on the compute device.
            data: images to train on.
            objective: the loss.
            config: configuration of any member, for the options that members share.
            micro_batch_size: images that are computed at once; None to choose by memory.
        """
        self.groups = list(groups)
        self._data = data
        self._objective = objective
        self._config = config
        self._device = str(next(self.groups[0].network.parameters()).device)
        self._micro_batch_size = micro_batch_size or self._choose_micro_batch_size()

    @property
    def numbers(self) -> list[int]:
        """Numbers of the members that are still trained, in the order of the groups."""
        return [number for group in self.groups for number in group.numbers]

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        return self._config.epochs * self._steps_per_epoch

    @property
    def _steps_per_epoch(self) -> int:
        return batch_count(len(self._data), self._config.batch_size)

    def epoch(
        self, number: int, advance: Callable[[int], object] = lambda _images: None
    ) -> dict[int, MemberEpoch]:
        """Train one epoch.

        Args:
            number: number of the epoch, from 0.
            advance: called after each step with its number of images.

        Returns:
            Losses and accuracy of each member, by its number.
        """
        config = self._config
        batches = shuffled_batches(len(self._data), config.batch_size, config.data_seed, number)
        data = self._data.with_drawn_views(config.data_seed, number)
        losses: list[Tensor] = []
        correct = torch.zeros(self._member_count, device=self._device)
        lr: list[float] = []
        for index, (rows, batch) in enumerate(zip(batches, data.read(batches), strict=True)):
            step = number * self._steps_per_epoch + index
            labels = torch.from_numpy(self._data.images.labels[rows]).to(self._device)
            mix = draw_mix(len(rows), config.mixup, config.data_seed, step)
            step_losses, step_correct = self._gradients(batch, labels, mix, step)
            lr = []
            for group in self.groups:
                rates = group.lr(step, self.steps)
                group.optimizer.step(rates)
                lr.extend(rates)
            losses.append(step_losses)
            correct += step_correct
            advance(len(rows))
        known = (self._data.images.labels != MISSING_LABEL).sum()
        accuracy = (correct / known).tolist() if not config.mixup else [float("nan")] * self._member_count
        stacked = torch.stack(losses).cpu().numpy()
        return {
            member: MemberEpoch(
                epoch=number,
                lr=lr[place],
                step_losses=stacked[:, place],
                train_accuracy=accuracy[place],
            )
            for place, member in enumerate(self.numbers)
        }

    def evaluate(self, data: LabelledActivations) -> dict[int, list[Scores] | None]:
        """Scores of each member in every label column, by its number; None if they are not finite."""
        classes = self._objective.classes
        keepers = [ScoreKeeper(len(group.numbers), classes, self._device) for group in self.groups]
        # Without gradients a micro-batch takes less memory than in training.
        batches = ordered_batches(len(data), self._config.batch_size)
        with torch.inference_mode():
            for rows, batch in zip(batches, data.read(batches), strict=True):
                labels = torch.from_numpy(data.images.labels[rows]).to(self._device)
                start = 0
                while start < len(rows):
                    images = slice(start, start + self._micro_batch_size)
                    try:
                        features = self._features(batch.decode(images), data)
                        found = [self._objective.split(group.network(features)) for group in self.groups]
                    except (RuntimeError, MemoryError) as error:
                        if not self._shrinks(error):
                            raise
                        continue
                    for keeper, scores in zip(keepers, found, strict=True):
                        keeper.add(scores, labels[images])
                    start = images.stop
        return {
            number: scores
            for group, keeper in zip(self.groups, keepers, strict=True)
            for number, scores in zip(group.numbers, keeper.result(), strict=True)
        }

    def with_groups(self, groups: Sequence[MemberGroup]) -> "Trainer":
        """A trainer of other members, with the same data and options."""
        return Trainer(
            groups, self._data, self._objective, self._config, micro_batch_size=self._micro_batch_size
        )

    def keep(self, numbers: Sequence[int]) -> None:
        """Continue with some of the members.

        Args:
            numbers: numbers of the members to keep.
        """
        wanted = set(numbers)
        self.groups = [group for group in self.groups if not wanted.isdisjoint(group.numbers)]
        for group in self.groups:
            group.keep([number for number in group.numbers if number in wanted])

    @property
    def _member_count(self) -> int:
        return sum(len(group.numbers) for group in self.groups)

    def _gradients(self, batch: Batch, labels: Tensor, mix: Mix | None, step: int) -> tuple[Tensor, Tensor]:
        """Compute the gradients of one batch.

        Returns:
            For each member its loss, and how many labels it predicts correctly.
        """
        while True:
            try:
                return self._try_gradients(batch, labels, mix, step)
            except (RuntimeError, MemoryError) as error:
                if not self._shrinks(error):
                    raise

    def _shrinks(self, error: Exception) -> bool:
        """Halve the micro-batches if memory is used up and they can be smaller.

        Less memory may be free than when their size was chosen, and other processes use it too.
        """
        if not is_out_of_memory(error) or self._micro_batch_size == 1:
            return False
        self._micro_batch_size //= 2
        if is_cuda(self._device):
            torch.cuda.empty_cache()
        return True

    def _try_gradients(
        self, batch: Batch, labels: Tensor, mix: Mix | None, step: int
    ) -> tuple[Tensor, Tensor]:
        for group in self.groups:
            group.optimizer.zero_grad()
        objective = self._objective
        weights = objective.weights(labels)
        smoothing = [group.smoothing for group in self.groups]
        losses = torch.zeros(self._member_count, device=self._device)
        correct = torch.zeros(self._member_count, device=self._device)
        partner = None if mix is None else torch.from_numpy(mix.partner).to(self._device)
        mixed_weights = None if partner is None else objective.weights(labels[partner])
        for start in range(0, len(batch), self._micro_batch_size):
            images = slice(start, start + self._micro_batch_size)
            activations = batch.decode(images)
            if mix is not None:
                # Not in place: decoded float32 activations may share memory with their codes.
                activations = torch.lerp(batch.decode(mix.partner[images]), activations, mix.share)
            features = self._features(activations, self._data)
            place = 0
            for group, spread in zip(self.groups, smoothing, strict=True):
                members = slice(place, place + len(group.numbers))
                place = members.stop
                scores = group.network(features, group.dropout(step, start))
                loss = objective.losses(scores, labels[images], weights[images], spread)
                if mix is not None and partner is not None and mixed_weights is not None:
                    other = objective.losses(scores, labels[partner[images]], mixed_weights[images], spread)
                    loss = mix.share * loss + (1 - mix.share) * other
                # The sum keeps members apart: no parameter of one appears in the loss of another.
                loss.sum().backward()
                losses[members] += loss.detach()
                for column, predicted in zip(labels[images].T, objective.split(scores.detach()), strict=True):
                    correct[members] += (predicted.argmax(dim=-1) == column).sum(dim=-1)
        return losses, correct

    def _features(self, activations: Tensor, data: LabelledActivations) -> FrozenFeatures:
        return FrozenFeatures(activations, _DTYPES[self._config.dtype], data.sites)

    def _choose_micro_batch_size(self) -> int:
        images = min(self._config.batch_size, len(self._data), 3)
        batch = self._data.source.read(self._data.images.positions[:images])
        labels = torch.from_numpy(self._data.images.labels[:images]).to(self._device)

        def step(count: int) -> None:
            self._micro_batch_size = count
            mix = Mix(np.arange(count), 0.5) if self._config.mixup else None
            self._try_gradients(_FirstImages(batch, count), labels[:count], mix, 0)
            for group in self.groups:
                group.optimizer.zero_grad()

        return choose_micro_batch_size(step, min(self._config.batch_size, len(self._data)), self._device)


@dataclass(frozen=True, slots=True)
class _FirstImages:
    """The first images of a batch, as a batch."""

    batch: Batch
    count: int

    def __len__(self) -> int:
        return self.count

    def decode(self, images: slice | Int64[np.ndarray, "_"]) -> Tensor:
        if isinstance(images, slice):
            images = slice(images.start, min(images.stop, self.count))
        return self.batch.decode(images)
