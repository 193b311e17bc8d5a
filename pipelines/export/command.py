"""losa-export: the command."""

from losa.pipelines.entry import enter


def main() -> None:
    """Entry point."""
    enter("export", "losa.pipelines.export.job", sweeps=False)
