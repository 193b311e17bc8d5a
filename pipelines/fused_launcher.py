"""The fused launcher: trains the members of a sweep together, then runs its jobs as ordinary Hydra jobs."""

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, env_override, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from losa.adapt import Job, adapt_all
from losa.adapt.members.summary import Outcome
from losa.cache_format import LosaError
from losa.pipelines.adapt_job import job_of, task
from losa.pipelines.outcomes import trained
from losa.pipelines.selection import candidate_of


def launch(
    context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    *,
    first: int,
) -> list[JobReturn]:
    """Train the members of all jobs together, then run the jobs, which find their members trained.

    Args:
        context: Hydra's context of the application.
        task_function: the task of losa-adapt.
        config: configuration of the sweep.
        job_overrides: overrides of each job.
        first: number of the first job; a sweeper may launch several batches of jobs.

    Raises:
        LosaError: the application is not losa-adapt.
    """
    if inspect.unwrap(task_function) is not task:
        raise LosaError(
            "hydra/launcher=fused trains side networks, so it is for losa-adapt only; "
            "hydra/launcher=basic runs one job after the other"
        )
    setup_globals()
    sweep_folder = Path(config.hydra.sweep.dir)
    sweep_folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        _composed(context, config, overrides, number) for number, overrides in enumerate(job_overrides, first)
    ]
    # Messages of the training concern all jobs, so they are logged in the folder of the sweep.
    shared = copy.deepcopy(config)
    _set_output_folder(shared, sweep_folder)
    configure_log(shared.hydra.job_logging, shared.hydra.verbose)
    with env_override(shared.hydra.job.env_set):
        members = [job for job in map(_job, jobs) if job is not None]
        outcomes: dict[Job, Outcome] = dict(zip(members, adapt_all(members), strict=True))
    with trained(outcomes):
        return [
            run_job(
                hydra_context=context,
                task_function=task_function,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            for job in jobs
        ]


def _composed(context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    job = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(job):
        job.hydra.job.id = number
        job.hydra.job.num = number
    return job


def _job(config: DictConfig) -> Job | None:
    """The member of a job; None if its options are wrong, which the job itself reports when it runs."""
    before = HydraConfig.instance().cfg
    probe = copy.deepcopy(config)
    try:
        # As run_job does it: the folder's name may depend on anything in Hydra's configuration.
        HydraConfig.instance().set_config(probe)
        folder = Path(str(OmegaConf.select(probe, "hydra.sweep.dir")))
        folder /= str(OmegaConf.select(probe, "hydra.sweep.subdir"))
        _set_output_folder(probe, folder)
        HydraConfig.instance().set_config(probe)
        with read_write(probe), open_dict(probe):
            del probe["hydra"]
        return candidate_of(job_of(probe))
    except (LosaError, OSError):
        return None
    finally:
        HydraConfig.instance().cfg = before


def _set_output_folder(config: DictConfig, folder: Path) -> None:
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(folder.absolute())
