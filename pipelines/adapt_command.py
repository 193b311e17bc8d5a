"""losa-adapt: the command of the second stage."""

from losa.pipelines.entry import RESUME, enter


def main() -> None:
    """Entry point."""
    enter("adapt", "losa.pipelines.adapt_job", advice=RESUME)
