"""losa-predict: the command."""

from losa.pipelines.entry import enter


def main() -> None:
    """Entry point."""
    enter("predict", "losa.pipelines.predict.job", sweeps=False)
