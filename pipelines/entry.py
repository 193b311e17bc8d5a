"""How the commands with options of Hydra begin. Modules that only a job needs are not imported for help."""

from importlib import import_module

from losa.pipelines.command_help import help_text, is_help_requested
from losa.pipelines.ending import ending
from losa.pipelines.idle_threads import let_idle_threads_sleep

RESUME = "run the same command again to resume"
"""Advice of a command that goes on where it was interrupted."""


def enter(config_name: str, job: str, *, advice: str = "", sweeps: bool = True) -> None:
    """Print the help of a command if it is asked for, or run its job.

    Args:
        config_name: name of the primary configuration in losa.conf.
        job: name of the module whose function ``run`` runs the command.
        advice: what to do after an interruption.
        sweeps: whether the command takes -m.
    """
    with ending(advice):
        if is_help_requested():
            print(help_text(config_name, sweeps=sweeps))
            return
        let_idle_threads_sleep()  # before torch is imported
        import_module(job).run()
