"""losa-export: the command. Modules that only a job needs are not imported for help."""

from losa.pipelines.command_help import help_text, is_help_requested


def main() -> None:
    """Entry point."""
    if is_help_requested():
        print(help_text("export", sweeps=False))
        return
    from losa.pipelines.export.job import run

    run()
