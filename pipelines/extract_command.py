"""losa-extract: the command of the first stage. Modules that only a job needs are not imported for help."""

from losa.pipelines.command_help import help_text, is_help_requested
from losa.pipelines.ending import ending


def main() -> None:
    """Entry point."""
    with ending("run the same command again to resume"):
        if is_help_requested():
            print(help_text("extract"))
            return
        from losa.pipelines.extract_job import run

        run()
