"""losa-evaluate: judges trained side networks."""

from losa.pipelines.entry import RESUME, enter


def main() -> None:
    """Entry point."""
    enter("evaluate", "losa.pipelines.evaluation.job", advice=RESUME, sweeps=False)
