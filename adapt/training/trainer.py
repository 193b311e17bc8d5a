"""The training loop: from activations to trained side networks. It needs no backbone."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.data.activations import Batch
from losa.adapt.data.labelled_activations import LabelledActivations
from losa.adapt.data.order import batch_count, ordered_batches, shuffled_batches
from losa.adapt.free_memory import is_cuda, is_out_of_memory
from losa.adapt.streams import FrozenFeatures
from losa.adapt.training.epoch_inputs import EpochInputs, StepInputs
from losa.adapt.training.losses import Objective
from losa.adapt.training.member_epoch import MemberEpoch
from losa.adapt.training.member_group import MemberGroup
from losa.adapt.training.pace import Pace
from losa.adapt.training.recorded_steps import RecordedSteps
from losa.adapt.training.running_epoch import RunningEpoch
from losa.adapt.training.scores import ScoreKeeper, Scores
from losa.adapt.training.step_computation import MicroBatchMemory, Result, StepComputation
from losa.adapt.training.working_set import choose_micro_batch_size, largest_that_fits
from losa.cache_format.common.device import to_device
from losa.cache_format.common.freed_memory import freed_memory_kept
from losa.cache_format.common.interruption import uninterrupted
from losa.cache_format.metadata.labels import MISSING_LABEL

_log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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
                memory, for which up to three images are read and computed.

        Raises:
            LosaError: the images cannot be read, or do not fit the networks.
        """
        self.groups = list(groups)
        self.running: RunningEpoch | None = None
        self.steady = True
        self._data = data
        self._objective = objective
        self._config = config
        self._device = str(next(self.groups[0].network.parameters()).device)
        self._memory = MicroBatchMemory()
        self._computation, self._recorded = self._of_groups()
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
        """Number of steps done of an epoch; 0 of any but the running one.

        Args:
            epoch: number of the epoch, from 0.
        """
        return self.running.steps if self.running is not None and self.running.number == epoch else 0

    def images_of(self, epoch: int) -> int:
        """Number of images in the steps done of an epoch.

        Args:
            epoch: number of the epoch, from 0.
        """
        return min(self.steps_of(epoch) * self._config.batch_size, len(self._data))

    def member_state(self, number: int, epoch: int) -> dict[str, Tensor]:
        """Parameters, optimiser state and, if it is under way, sums of an epoch of one member; not copied.

        Args:
            number: number of the member.
            epoch: number of the epoch, from 0.

        Returns:
            Tensors by name, without the members axis.

        Raises:
            ValueError: the member is not trained any more.
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

        Raises:
            KeyError: a member or a name is missing.
            RuntimeError: a shape does not fit.
        """
        for group in self.groups:
            for number in group.numbers:
                group.load_member_state(number, states[number])
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

        Raises:
            LosaError: the images cannot be read, or, with ``compile=True``, a step cannot be recorded.
        """
        with closing(self.steps_in(number)) as steps:
            for images in steps:
                after_step(images)
        running = self.running
        assert running is not None, "the epoch was begun"
        known = (self._data.images.labels != MISSING_LABEL).sum()
        mixed = self._config.mixup
        accuracy = [float("nan")] * self._member_count if mixed else (running.correct / known).tolist()
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

    def steps_in(self, number: int) -> Generator[int, None, None]:
        """Compute the steps of an epoch, or the rest of them if it is under way, one for each number yielded.

        Args:
            number: number of the epoch, from 0.

        Yields:
            The number of images of each step. A GPU may still compute it.

        Raises:
            LosaError: the images cannot be read, or, with ``compile=True``, a step cannot be recorded.
        """
        config = self._config
        if self.running is None or self.running.number != number:
            self.running = RunningEpoch.start(number, self._member_count, self._steps_per_epoch, self._device)
        running = self.running
        batches = shuffled_batches(len(self._data), config.batch_size, config.data_seed, number)
        batches = batches[running.steps :]
        data = self._data.with_drawn_views(config.data_seed, number)
        with self._recorded.stream(), freed_memory_kept(self._device):
            pace = Pace(self._device)
            inputs = self._inputs(batches, number * self._steps_per_epoch + running.steps)
            for rows, batch, each in zip(batches, data.read(batches), inputs, strict=True):
                self._step(batch, each, running)
                pace.keep()
                yield len(rows)

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

        Returns:
            Number of the member -> one entry for each label column, or None.

        Raises:
            LosaError: the images cannot be read.
        """
        classes = self._objective.classes
        keepers = [ScoreKeeper(len(group.numbers), classes, self._device) for group in self.groups]
        batches = ordered_batches(len(data), self._config.batch_size)
        with torch.inference_mode(), freed_memory_kept(self._device):
            for rows, batch in zip(batches, data.read(batches), strict=True):
                labels = to_device(torch.from_numpy(data.images.labels[rows]), self._device)
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
        """A trainer of other members, with the same data and options.

        Args:
            groups: the members, on the compute device.
        """
        return Trainer(
            groups, self._data, self._objective, self._config, micro_batch_size=self.micro_batch_size
        )

    def keep(self, numbers: Sequence[int]) -> None:
        """Continue with some of the members.

        Args:
            numbers: numbers of the members to keep.
        """
        wanted = set(numbers)
        if wanted.issuperset(self.numbers):
            return
        if self.running is not None:
            self.running.keep([place for place, number in enumerate(self.numbers) if number in wanted])
        self.groups = [group for group in self.groups if not wanted.isdisjoint(group.numbers)]
        for group in self.groups:
            group.keep([number for number in group.numbers if number in wanted])
        self._computation, self._recorded = self._of_groups()

    @property
    def _member_count(self) -> int:
        return sum(len(group.numbers) for group in self.groups)

    def _of_groups(self) -> tuple[StepComputation, RecordedSteps]:
        """What computes the steps of the present members."""
        computation = StepComputation(
            groups=self.groups,
            objective=self._objective,
            dtype=_DTYPES[self._config.dtype],
            sites=self._data.sites,
        )
        return computation, RecordedSteps(computation, self._config.compile, self._device)

    def _inputs(self, batches: Sequence[Int64[np.ndarray, "_"]], first_step: int) -> EpochInputs:
        return EpochInputs(
            self.groups,
            self._data.images.labels,
            batches,
            self._config,
            first_step=first_step,
            all_steps=self.steps,
            device=self._device,
        )

    def _step(self, batch: Batch, inputs: StepInputs, running: RunningEpoch) -> None:
        recording = self._recorded.of(batch, inputs, self.micro_batch_size)
        if recording is not None:
            with self.changing():
                running.add(*recording.replay(batch, inputs))
            return
        result = self._gradients(batch, inputs)
        with self.changing():
            self._computation.update(inputs)
            running.add(*result)

    def _gradients(self, batch: Batch, inputs: StepInputs) -> Result:
        """Compute the gradients of one batch, in smaller micro-batches if memory runs out."""
        while True:
            try:
                return self._computation.gradients(batch, inputs, self.micro_batch_size, self._memory)
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
            activations = batch.decode(images, self._memory.images)
            features = FrozenFeatures(activations, self._computation.dtype, data.sites)
            return [self._objective.split(group.network(features)) for group in self.groups]
        except (RuntimeError, MemoryError) as error:
            if not self._gives_way(error, self._scored_at_once):
                raise
            return None

    def _gives_way(self, error: Exception, images: int) -> bool:
        """Whether an error says that memory is used up, and there are fewer images than these to compute."""
        if not is_out_of_memory(error) or images == 1:
            return False
        self._memory = MicroBatchMemory()
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
        self._recorded.forget()

    def _choose_micro_batch_size(self) -> int:
        images = min(self._config.batch_size, len(self._data))
        return choose_micro_batch_size(self._measured_step(), images, self._device)

    def _measured_step(self) -> Callable[[int], None]:
        """A function that computes the gradients of one image or of three, without a trace."""
        images = min(self._config.batch_size, len(self._data))
        read = self._data.source.read
        batches = {count: read(self._data.images.positions[:count]) for count in (1, 3) if count <= images}

        def step(count: int) -> None:
            (inputs,) = self._inputs([np.arange(count)], 0)
            # In memory of its own, which counts.
            self._computation.gradients(batches[count], inputs, count, MicroBatchMemory())
            for group in self.groups:
                group.optimizer.zero_grad()

        return step
