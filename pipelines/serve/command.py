"""losa-serve: the command."""

from losa.pipelines.entry import enter


def main() -> None:
    """Entry point."""
    enter("serve", "losa.pipelines.serve.job", sweeps=False)
