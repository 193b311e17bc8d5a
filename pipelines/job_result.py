"""What the jobs of a command return to Hydra."""

from dataclasses import dataclass

from losa.adapt import MemberSummary
from losa.cache_format import LosaError


@dataclass(frozen=True)
class JobResult:
    """A trained member.

    As a number it is the accuracy on the first scored split, which sweepers that optimise (Optuna) need.
    """

    summary: MemberSummary

    def __float__(self) -> float:
        """Accuracy on the first scored split.

        Raises:
            LosaError: no split is scored.
        """
        if not self.summary.accuracy:
            raise LosaError(
                "eval_split=[]: there is no score to optimise; name a split, as in eval_split=val200"
            )
        return float(next(iter(self.summary.accuracy.values())))
