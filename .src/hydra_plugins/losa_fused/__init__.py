"""The Hydra launcher behind ``losa-adapt -m``: all jobs of a sweep in as few passes as possible.

Hydra takes launchers from the namespace ``hydra_plugins`` only, and every Hydra application of an environment
imports all that is in it. So this module imports nothing heavy before it is asked to launch.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FusedLauncher(Launcher):
    """Trains first, all jobs at once; then every job is run and finds its member trained."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self._hydra_context = hydra_context
        self._task_function = task_function
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs."""
        from losa.pipelines.fused_launcher import launch

        return launch(
            self._hydra_context, self._task_function, self._config, job_overrides, first=initial_job_idx
        )
