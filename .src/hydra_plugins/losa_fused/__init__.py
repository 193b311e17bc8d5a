"""The Hydra plugins behind ``losa-adapt -m``: all jobs of a sweep in as few passes as possible.

Hydra accepts plugins from the namespace ``hydra_plugins`` only, and every Hydra application in the same
environment imports all of that namespace. So this module imports nothing heavy before a launch.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FusedLauncher(Launcher):
    """Trains the members of all jobs together, then runs the jobs, which find their members trained."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the context, the task function and the configuration of the sweep."""
        from losa.pipelines.job_configs import JobConfigLoader

        # Sweepers have the same context, and most of them compose all jobs to check them before a launch.
        hydra_context.config_loader = JobConfigLoader(hydra_context.config_loader)
        self._hydra_context = hydra_context
        self._task_function = task_function
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs; see `losa.pipelines.fused_launcher.launch`."""
        from losa.pipelines.fused_launcher import launch

        return launch(
            self._hydra_context, self._task_function, self._config, job_overrides, first=initial_job_idx
        )


class FusedSweeper(BasicSweeper):
    """Hydra's sweeper, which leaves the check of all jobs to a launcher that composes all of them first."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Check that all jobs can be composed, unless the launcher does."""
        if not isinstance(self.launcher, FusedLauncher):
            super().validate_batch_is_legal(batch)
