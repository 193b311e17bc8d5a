"""The state of a pass after an epoch, kept until it is saved, since the next epoch changes it in place."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from torch import Tensor

from losa.adapt.members.member_files import Checkpoint
from losa.adapt.members.member_progress import MemberProgress
from losa.adapt.training.member_group import MemberGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Copies of the progress and the tensors of all members of a pass."""

    epoch: int
    """Number of epochs done."""
    seconds: float
    """Duration of the pass so far."""
    progress: Mapping[int, MemberProgress]
    """Progress of each member, by its number."""
    states: Sequence[tuple[Sequence[int], Mapping[str, Tensor]]]
    """For each group the numbers of its members, and their tensors on the CPU, the members axis first."""

    @classmethod
    def take(
        cls, epoch: int, seconds: float, progress: Mapping[int, MemberProgress], groups: Sequence[MemberGroup]
    ) -> "Snapshot":
        """Copy the state of a pass after ``epoch`` epochs."""
        return cls(
            epoch=epoch,
            seconds=seconds,
            progress={number: copy(one) for number, one in progress.items()},
            states=[
                (
                    tuple(group.numbers),
                    {name: value.to("cpu", copy=True) for name, value in group.state().items()},
                )
                for group in groups
            ],
        )

    def checkpoints(self) -> Iterator[tuple[int, Checkpoint]]:
        """Number and checkpoint of every member that has not failed.

        Stopped members are among them. Otherwise they would be trained again after an interruption, apart
        from the members that they were compared with.
        """
        of_member = {
            number: (tensors, place)
            for numbers, tensors in self.states
            for place, number in enumerate(numbers)
        }
        for number, progress in self.progress.items():
            if progress.error is None:
                tensors, place = of_member.get(number, ({}, 0))
                state = {name: value[place] for name, value in tensors.items()}
                yield (
                    number,
                    progress.make_checkpoint(
                        self.epoch, state, pass_seconds=self.seconds, members=len(self.progress)
                    ),
                )
