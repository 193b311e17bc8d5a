"""The training loop: from activations to trained side networks. It needs no backbone."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.data.activations import ActivationSource, Batch, read_ahead
from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.data.mixup import Mix, draw_mix
from losa.adapt.data.order import batch_count, ordered_batches, shuffled_batches
from losa.adapt.data.reused_memory import ReusedMemory
from losa.adapt.free_memory import is_cuda, is_out_of_memory
from losa.adapt.streams import FrozenFeatures
from losa.adapt.training.losses import Objective
from losa.adapt.training.member_group import MemberGroup
from losa.adapt.training.running_epoch import RunningEpoch
from losa.adapt.training.scores import ScoreKeeper, Scores
from losa.adapt.training.working_set import choose_micro_batch_size, largest_that_fits
from losa.cache_format.common.interruption import uninterrupted
from losa.cache_format.metadata.labels import MISSING_LABEL

_log = logging.getLogger(__name__)

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

    Attributes:
        groups: the members that are still trained.
        running: the epoch that is under way, or the last one.
        micro_batch_sizes: images that were computed at once in training. The last number counts; there are
            several if memory ran out.
        steady: False if a failure has left the members changed in part.
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
            micro_batch_size: images that are computed at once, fewer if memory runs out; None to choose by
                memory.
        """
        self.groups = list(groups)
        self.running: RunningEpoch | None = None
        self.steady = True
        self._data = data
        self._objective = objective
        self._config = config
        self._device = str(next(self.groups[0].network.parameters()).device)
        self._memory = _MicroBatchMemory()
        self.micro_batch_sizes = [micro_batch_size or self._choose_micro_batch_size()]
        # Without gradients a micro-batch takes less memory than in training.
        self._scored_at_once = self.micro_batch_size

    @property
    def micro_batch_size(self) -> int:
        """Number of images that are computed at once in training."""
        return self.micro_batch_sizes[-1]

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

    def steps_of(self, epoch: int) -> int:
        """Number of steps done of an epoch."""
        return self.running.steps if self.running is not None and self.running.number == epoch else 0

    def images_of(self, epoch: int) -> int:
        """Number of images in the steps done of an epoch."""
        return min(self.steps_of(epoch) * self._config.batch_size, len(self._data))

    def member_state(self, number: int, epoch: int) -> dict[str, Tensor]:
        """Parameters, optimiser state and, if it is under way, sums of an epoch of one member; not copied.

        Args:
            number: number of the member.
            epoch: number of the epoch.

        Returns:
            Tensors by name.
        """
        (group,) = (group for group in self.groups if number in group.numbers)
        state = group.member_state(number)
        if self.running is not None and self.running.number == epoch:
            state |= self.running.member_state(self.numbers.index(number))
        return state

    def resume(self, epoch: int, steps: int, states: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Go on from what `member_state` returned.

        Args:
            epoch: number of the epoch, from 0.
            steps: number of its steps that are done.
            states: the state of each member, by its number.
        """
        for group in self.groups:
            for number in group.numbers:
                group.load_member_state(number, states[number])
            group.optimizer.steps = epoch * self._steps_per_epoch + steps
        if steps:
            self.running = RunningEpoch.resume(
                epoch, [states[number] for number in self.numbers], self._steps_per_epoch, self._device
            )

    def fit(self) -> None:
        """Choose smaller micro-batches if memory cannot hold those that were given."""
        images = largest_that_fits(self._measured_step(), self.micro_batch_size, self._device)
        if images < self.micro_batch_size:
            self._shrink_to(images)

    def epoch(
        self, number: int, after_step: Callable[[int], object] = lambda _images: None
    ) -> dict[int, MemberEpoch]:
        """Train one epoch, or the rest of it if it is under way.

        Args:
            number: number of the epoch, from 0.
            after_step: called after every step with its number of images.

        Returns:
            Losses and accuracy of each member, by its number.
        """
        config = self._config
        if self.running is None or self.running.number != number:
            self.running = RunningEpoch.start(number, self._member_count, self._steps_per_epoch, self._device)
        running = self.running
        batches = shuffled_batches(len(self._data), config.batch_size, config.data_seed, number)
        batches = batches[running.steps :]
        data = self._data.with_drawn_views(config.data_seed, number)
        for rows, batch in zip(batches, data.read(batches), strict=True):
            step = number * self._steps_per_epoch + running.steps
            labels = torch.from_numpy(self._data.images.labels[rows]).to(self._device)
            mix = draw_mix(len(rows), config.mixup, config.data_seed, step)
            losses, correct = self._gradients(batch, labels, mix, step)
            with self.changing():
                for group in self.groups:
                    group.optimizer.step(group.lr(step, self.steps), group.weight_decay(self.steps))
                running.add(losses, correct)
            after_step(len(rows))
        known = (self._data.images.labels != MISSING_LABEL).sum()
        accuracy = [float("nan")] * self._member_count if config.mixup else (running.correct / known).tolist()
        last = (number + 1) * self._steps_per_epoch - 1
        rates = [rate for group in self.groups for rate in group.lr(last, self.steps)]
        step_losses = running.losses.cpu().numpy()
        return {
            member: MemberEpoch(
                epoch=number,
                lr=rates[place],
                step_losses=step_losses[place],
                train_accuracy=accuracy[place],
            )
            for place, member in enumerate(self.numbers)
        }

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A context inside of which members are neither what they were nor what they will be.

        Signals that end the command wait for its end.
        """
        with uninterrupted():
            self.steady = False
            yield
            self.steady = True

    def evaluate(
        self, data: LabelledActivations, after_batch: Callable[[], None] = lambda: None
    ) -> dict[int, list[Scores] | None]:
        """Scores of each member in every label column, by its number; None if they are not finite.

        Args:
            data: images to score.
            after_batch: called after every batch.
        """
        classes = self._objective.classes
        keepers = [ScoreKeeper(len(group.numbers), classes, self._device) for group in self.groups]
        batches = ordered_batches(len(data), self._config.batch_size)
        with torch.inference_mode():
            for rows, batch in zip(batches, data.read(batches), strict=True):
                labels = torch.from_numpy(data.images.labels[rows]).to(self._device)
                start = 0
                while start < len(rows):
                    images = slice(start, start + self._scored_at_once)
                    found = self._try_scores(batch, images, data)
                    if found is None:
                        self._scored_at_once //= 2
                        continue
                    for keeper, scores in zip(keepers, found, strict=True):
                        keeper.add(scores, labels[images])
                    start = images.stop
                after_batch()
        return {
            number: scores
            for group, keeper in zip(self.groups, keepers, strict=True)
            for number, scores in zip(group.numbers, keeper.result(), strict=True)
        }

    def with_groups(self, groups: Sequence[MemberGroup]) -> "Trainer":
        """A trainer of other members, with the same data and options."""
        return Trainer(
            groups, self._data, self._objective, self._config, micro_batch_size=self.micro_batch_size
        )

    def keep(self, numbers: Sequence[int]) -> None:
        """Continue with some of the members.

        Args:
            numbers: numbers of the members to keep.
        """
        wanted = set(numbers)
        if self.running is not None:
            self.running.keep([place for place, number in enumerate(self.numbers) if number in wanted])
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
                return self._try_gradients(batch, labels, mix, step, self.micro_batch_size, self._memory)
            except (RuntimeError, MemoryError) as error:
                if not self._gives_way(error, self.micro_batch_size):
                    raise
            # Less memory may be free than when the size was chosen, and other processes use it too.
            self._shrink_to(self.micro_batch_size // 2)

    def _try_scores(
        self, batch: Batch, images: slice, data: LabelledActivations
    ) -> list[tuple[Tensor, ...]] | None:
        """Class scores of some images by group and label column; None if memory does not hold so many."""
        try:
            features = self._features(batch.decode(images, self._memory.images), data)
            return [self._objective.split(group.network(features)) for group in self.groups]
        except (RuntimeError, MemoryError) as error:
            if not self._gives_way(error, self._scored_at_once):
                raise
            return None

    def _gives_way(self, error: Exception, images: int) -> bool:
        """Whether an error says that memory is used up, and there are fewer images than these to compute."""
        if not is_out_of_memory(error) or images == 1:
            return False
        self._memory = _MicroBatchMemory()
        if is_cuda(self._device):
            torch.cuda.empty_cache()
        return True

    def _shrink_to(self, images: int) -> None:
        _log.warning(
            "memory no longer holds %d images at once: from here on they are computed %d at a time, which "
            "changes results in rounding",
            self.micro_batch_size,
            images,
        )
        self.micro_batch_sizes.append(images)

    def _try_gradients(
        self,
        batch: Batch,
        labels: Tensor,
        mix: Mix | None,
        step: int,
        at_once: int,
        memory: "_MicroBatchMemory",
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
        for start in range(0, len(batch), at_once):
            images = slice(start, start + at_once)
            activations = batch.decode(images, memory.images)
            if mix is not None:
                # Not in place: decoded float32 activations may share memory with their codes.
                activations = torch.lerp(
                    batch.decode(mix.partner[images], memory.partners),
                    activations,
                    mix.share,
                    out=memory.mixed.empty(activations.shape, activations.device),
                )
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
        images = min(self._config.batch_size, len(self._data))
        return choose_micro_batch_size(self._measured_step(), images, self._device)

    def _measured_step(self) -> Callable[[int], None]:
        """A function that computes the gradients of a number of images, at most three, without a trace."""
        images = min(self._config.batch_size, len(self._data), 3)
        batch = self._data.source.read(self._data.images.positions[:images])
        labels = torch.from_numpy(self._data.images.labels[:images]).to(self._device)

        def step(count: int) -> None:
            mix = Mix(np.arange(count), 0.5) if self._config.mixup else None
            # In memory of its own, which counts.
            memory = _MicroBatchMemory()
            self._try_gradients(_FirstImages(batch, count), labels[:count], mix, 0, count, memory)
            for group in self.groups:
                group.optimizer.zero_grad()

        return step


@dataclass(frozen=True, slots=True)
class _MicroBatchMemory:
    """Memory for the activations of a micro-batch, which the next micro-batch uses again."""

    images: ReusedMemory = field(default_factory=ReusedMemory)
    partners: ReusedMemory = field(default_factory=ReusedMemory)
    """For the activations that mixup adds to those of the images."""
    mixed: ReusedMemory = field(default_factory=ReusedMemory)


@dataclass(frozen=True, slots=True)
class _FirstImages:
    """The first images of a batch, as a batch."""

    batch: Batch
    count: int

    def __len__(self) -> int:
        return self.count

    def decode(self, images: slice | Int64[np.ndarray, "_"], memory: ReusedMemory | None = None) -> Tensor:
        if isinstance(images, slice):
            images = slice(images.start, min(images.stop, self.count))
        return self.batch.decode(images, memory)
