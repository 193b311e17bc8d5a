"""What the jobs of a command return to Hydra."""

from dataclasses import dataclass

from losa.adapt import MemberSummary


@dataclass(frozen=True)
class JobResult:
    """A trained member.

    As a number it is the accuracy on the first scored split, which sweepers that optimise (Optuna) need.
    """

    summary: MemberSummary

    def __float__(self) -> float:
        """Accuracy on the first scored split."""
        return float(next(iter(self.summary.accuracy.values())))
