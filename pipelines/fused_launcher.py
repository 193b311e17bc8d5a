"""The fused launcher: trains the members of a sweep together, then runs its jobs as ordinary Hydra jobs."""

import copy
import inspect
import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, env_override, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from losa.adapt import AdaptConfig, Job
from losa.adapt.members.summary import Outcome
from losa.cache_format import LosaError
from losa.pipelines.adapt_job import job_of, task, tell_idle
from losa.pipelines.job_configs import JobConfigLoader
from losa.pipelines.outcomes import trained
from losa.pipelines.selection import candidate_of
from losa.pipelines.sweep_job import SweepJob, set_output_folder
from losa.pipelines.tracked_training import train

_log = logging.getLogger(__name__)


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
        context: Hydra's context of the application, with a `JobConfigLoader`.
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
    loader = context.config_loader
    assert isinstance(loader, JobConfigLoader), loader
    jobs = [
        SweepJob(loader, context.callbacks, config, list(overrides), number)
        for number, overrides in enumerate(job_overrides, first)
    ]
    # Messages of the training concern all jobs, so they are logged in the folder of the sweep.
    shared = copy.deepcopy(config)
    set_output_folder(shared, sweep_folder)
    configure_log(shared.hydra.job_logging, shared.hydra.verbose)
    with env_override(shared.hydra.job.env_set):
        found = [each for each in map(_requested, jobs) if each is not None]
        if first == 0:  # once, for sweepers that launch several batches
            tell_idle(_typed(config), [requested for requested, _ in found])
        members = [member for _, member in found]
        outcomes: dict[Job, Outcome] = dict(zip(members, train(members, sweep_folder), strict=True))
    with trained(outcomes):
        return [job.run(task_function) for job in jobs]


def _typed(sweep: DictConfig) -> list[str]:
    """The options of a sweep as they were typed; ``${...}`` in them is that of each job."""
    typed = OmegaConf.to_container(sweep.hydra.overrides.task, resolve=False)
    assert isinstance(typed, list), typed
    return typed


def _requested(job: SweepJob) -> tuple[AdaptConfig, Job] | None:
    """What a job asks for, and the member that it trains first.

    It is None if its options are wrong, which the job itself reports when it runs.
    """
    try:
        with job.looked_at() as (_, options):
            requested = job_of(options)
            return requested.config, candidate_of(requested)
    except (LosaError, OSError):
        return None
