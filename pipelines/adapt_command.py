"""losa-adapt: the command of the second stage. What a job needs is imported for a job only, not for help."""

from losa.pipelines.command_help import help_text, is_help_requested


def main() -> None:
    """Entry point."""
    if is_help_requested():
        print(help_text("adapt"))
        return
    from losa.pipelines.adapt_job import run

    run()
