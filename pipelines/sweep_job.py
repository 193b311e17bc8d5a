"""A job of a sweep as Hydra runs it, without the copies of its configuration that nobody looks at."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from losa.pipelines.job_configs import JobConfigLoader
from losa.pipelines.results import ResultsTable


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A job that is not composed yet."""

    loader: JobConfigLoader
    callbacks: Callbacks
    sweep: DictConfig
    """Configuration of the sweep."""
    overrides: Sequence[str]
    number: int

    @contextmanager
    def current(self) -> Iterator[DictConfig]:
        """A context in which this is the current job for Hydra, in its output folder.

        Yields:
            The job's options, without Hydra's own.

        Raises:
            LosaError: the name of the folder cannot be made from the options.
        """
        with self._current(self._composed()) as options:
            yield options

    def run(self, task_function: TaskFunction) -> JobReturn:
        """Run the job.

        Returns:
            What Hydra's `run_job` returns; without the configurations, which would take a tenth of a megabyte
            for every job of a sweep, if nobody but losa looks at the job.
        """
        config = self._composed()
        if self._is_watched(config.hydra):
            return run_job(
                hydra_context=HydraContext(self.loader, self.callbacks),
                task_function=task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        result = JobReturn(
            overrides=list(config.hydra.overrides.task),
            working_dir=os.getcwd(),
            task_name=JobRuntime.instance().get("name"),
        )
        with self._current(config) as options:
            Path(config.hydra.runtime.output_dir).mkdir(parents=True, exist_ok=True)
            self.callbacks.on_job_start(config=config, task_function=task_function)
            try:
                result.return_value = task_function(options)
                result.status = JobStatus.COMPLETED
            except Exception as error:  # the sweeper raises it again
                result.return_value = error
                result.status = JobStatus.FAILED
            self.callbacks.on_job_end(config=config, job_return=result)
        return result

    def _composed(self) -> DictConfig:
        config = self.loader.load_sweep_config(self.sweep, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = self.number
            config.hydra.job.num = self.number
        return config

    @contextmanager
    def _current(self, config: DictConfig) -> Iterator[DictConfig]:
        options = self.loader.load_options(self.sweep, list(self.overrides))
        hydra = HydraConfig.instance()
        before = hydra.cfg
        try:
            hydra.cfg = config  # type: ignore[assignment]  # its part named hydra is read, and nothing else
            places = [str(OmegaConf.select(config, f"hydra.sweep.{key}")) for key in ("dir", "subdir")]
            set_output_folder(config, Path(*places))
            OmegaConf.set_readonly(config.hydra, True)
            yield options
        finally:
            hydra.cfg = before

    def _is_watched(self, hydra: DictConfig) -> bool:
        """Whether somebody but losa sees the job: another callback, or who reads its own files or variables."""
        others = any(not isinstance(callback, ResultsTable) for callback in self.callbacks.callbacks)
        own_files = hydra.output_subdir is not None or logs_to_own_file(hydra)
        return others or own_files or bool(hydra.job.chdir) or bool(hydra.job.env_set)


def logs_to_own_file(hydra: DictConfig) -> bool:
    """Whether the logging of jobs depends on the job, as that into a file in its output folder does."""
    return "${" in str(OmegaConf.to_container(hydra.job_logging, resolve=False))


def set_output_folder(config: DictConfig, folder: Path) -> None:
    """Tell Hydra the output folder of a job."""
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(folder.absolute())
