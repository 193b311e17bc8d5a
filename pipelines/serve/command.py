"""losa-serve: the command. Modules that only a job needs are not imported for help."""

from losa.pipelines.command_help import help_text, is_help_requested


def main() -> None:
    """Entry point."""
    if is_help_requested():
        print(help_text("serve", sweeps=False))
        return
    from losa.pipelines.serve.job import run

    run()
