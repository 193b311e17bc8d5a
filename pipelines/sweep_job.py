"""A job of a sweep as Hydra runs it, without the copies of its configuration that nobody looks at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from losa.pipelines.job_configs import JobConfigLoader
from losa.pipelines.results import ResultsTable


@dataclass(slots=True)
class SweepJob:
    """A job of a sweep, composed when it is looked at: thousands of configurations would take gigabytes."""

    loader: JobConfigLoader
    callbacks: Callbacks
    sweep: DictConfig
    """Configuration of the sweep."""
    overrides: list[str]
    number: int
    folder: Path | None = None
    """Its output folder, once it was looked at."""

    @contextmanager
    def looked_at(self) -> Iterator[tuple[DictConfig, DictConfig]]:
        """A context in which this is Hydra's current job.

        Yields:
            The job's configuration, which is lent, and its options alone.
        """
        config = self._numbered(self.loader.lend_sweep_config(self.sweep, self.overrides))
        options = self.loader.load_options(self.sweep, self.overrides)
        hydra = HydraConfig.instance()
        before = hydra.cfg
        try:
            hydra.cfg = config  # type: ignore[assignment]  # only its part named hydra is read
            if self.folder is None:
                places = [str(OmegaConf.select(config, f"hydra.sweep.{name}")) for name in ("dir", "subdir")]
                self.folder = Path(*places).absolute()
            set_output_folder(config, self.folder)
            OmegaConf.set_readonly(config.hydra, True)
            yield config, options
        finally:
            hydra.cfg = before

    def run(self, task_function: TaskFunction) -> JobReturn:
        """Run the job.

        Returns:
            What Hydra's `run_job` returns. If nobody but losa looks at the job, it is without configurations,
            which take a tenth of a megabyte for each job.
        """
        with self.looked_at() as (config, options):
            if not self._is_watched(config.hydra):
                return self._run_unwatched(task_function, config, options)
        return run_job(
            hydra_context=HydraContext(self.loader, self.callbacks),
            task_function=task_function,
            config=self._numbered(self.loader.load_sweep_config(self.sweep, self.overrides)),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _run_unwatched(
        self, task_function: TaskFunction, config: DictConfig, options: DictConfig
    ) -> JobReturn:
        result = JobReturn(
            overrides=list(self.overrides),
            working_dir=str(Path.cwd()),
            task_name=JobRuntime.instance().get("name"),
        )
        Path(config.hydra.runtime.output_dir).mkdir(parents=True, exist_ok=True)
        self.callbacks.on_job_start(config=config, task_function=task_function)
        try:
            result.return_value = task_function(options)
            result.status = JobStatus.COMPLETED
        except Exception as error:  # raised again when the sweeper asks for the result
            result.return_value = error
            result.status = JobStatus.FAILED
        self.callbacks.on_job_end(config=config, job_return=result)
        return result

    def _numbered(self, config: DictConfig) -> DictConfig:
        with open_dict(config):
            config.hydra.job.id = self.number
            config.hydra.job.num = self.number
        return config

    def _is_watched(self, hydra: HydraConf) -> bool:
        """Whether others look at the job: callbacks, or readers of files and variables of its own."""
        others = any(not isinstance(callback, ResultsTable) for callback in self.callbacks.callbacks)
        own_files = hydra.output_subdir is not None or logs_to_own_file(hydra)
        return others or own_files or bool(hydra.job.chdir) or bool(hydra.job.env_set)


def logs_to_own_file(hydra: HydraConf) -> bool:
    """Whether the logging of jobs depends on the job, as that into a file in its output folder does."""
    return "${" in str(OmegaConf.to_container(hydra.job_logging, resolve=False))


def set_output_folder(config: DictConfig, folder: Path) -> None:
    """Tell Hydra the output folder of a job."""
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(folder.absolute())
