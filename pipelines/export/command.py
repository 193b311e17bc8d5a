"""losa-export: the command. Modules that only a job needs are not imported for help."""

from losa.pipelines.command_help import help_text, is_help_requested
from losa.pipelines.ending import ending
from losa.pipelines.idle_threads import let_idle_threads_sleep


def main() -> None:
    """Entry point."""
    with ending():
        if is_help_requested():
            print(help_text("export", sweeps=False))
            return
        let_idle_threads_sleep()
        from losa.pipelines.export.job import run

        run()
