"""What is told of a training while it goes on."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from losa.adapt.members.summary import MemberSummary


class TrainingListener(Protocol):
    """Somebody who is told of members while they are trained.

    Training waits for each call, and an error that one raises ends it. Members that were finished before are
    not told, nor the epochs before a checkpoint from which a member resumes.
    """

    def training_starts(self) -> None:
        """The jobs are checked, and there are members to train."""

    def epoch_ended(self, first: str, epoch: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """An epoch of a pass has ended.

        Args:
            first: name of the first member that the pass began with, which tells passes apart.
            epoch: number of the epoch; the first one is 0.
            metrics: for each member that took part, by its name, the numbers of its line in
                ``metrics.jsonl``: ``lr``, ``train_loss``, ``train_accuracy``, and ``val_accuracy`` with a
                validation split. Numbers that are not finite are left out, and so is a member whose loss is
                not.
        """

    def members_scored(self, first: str, summaries: Sequence[MemberSummary]) -> None:
        """The members of a pass that have not failed are scored, and their results are written.

        Args:
            first: as above.
            summaries: their results.
        """
