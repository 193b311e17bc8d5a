"""losa-extract: the command of the first stage."""

from losa.pipelines.entry import RESUME, enter


def main() -> None:
    """Entry point."""
    enter("extract", "losa.pipelines.extract_job", advice=RESUME)
