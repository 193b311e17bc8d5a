"""The job of losa-adapt: one member, which is trained unless the launcher has trained it."""

import functools
import logging
import sys
from collections.abc import Sequence
from functools import wraps
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from losa.adapt import AdaptConfig, Job
from losa.adapt.members.member_folder import member_folder
from losa.adapt.members.resolution import features_of, idle_options_on_cache, resolved
from losa.cache_format import LosaError
from losa.cache_format.identity import FeatureIdentity
from losa.cache_format.storage.paths import local_path
from losa.pipelines.command_line import run_command, to_config
from losa.pipelines.idle_overrides import tell_idle_overrides
from losa.pipelines.job_result import JobResult
from losa.pipelines.outcomes import launched_together
from losa.pipelines.selection import Candidates, as_candidate
from losa.pipelines.sweep_job import logs_to_own_file
from losa.pipelines.tracked_training import tracking

_log = logging.getLogger(__name__)


def task(composed: DictConfig, candidates: Candidates) -> JobResult:
    """Train one member, unless the launcher has trained it; the result goes to the table of a multirun."""
    hydra = HydraConfig.get()
    folder = _from_here(hydra.runtime.output_dir)
    try:
        job = job_of(composed)
        if not launched_together():
            tell_idle(hydra.overrides.task, [job.config])
        summary = candidates.summary_of(job, _from_here(hydra.sweep.dir))
    except Exception:
        _remove_if_empty(folder, folder.parent)
        raise
    # The table has a line for each job of a multirun.
    if hydra.mode is not RunMode.MULTIRUN or logs_to_own_file(hydra):
        scores = ", ".join(f"{split} accuracy {score:.4f}" for split, score in summary.accuracy.items())
        _log.info("%s: %s, %s parameters", folder, scores or "not scored", f"{summary.parameters:,}")
    return JobResult(summary)


def job_of(composed: DictConfig) -> Job:
    """The job that a composed configuration describes, in the output folder that Hydra chose for it.

    Raises:
        LosaError: options are missing or invalid.
    """
    return Job(_config_of(composed), _from_here(HydraConfig.get().runtime.output_dir))


def tell_idle(typed: Sequence[str], members: Sequence[AdaptConfig]) -> None:
    """Tell which of the typed options have no effect on any of the members."""
    find = functools.partial(_features, folder=Path.cwd())
    tell_idle_overrides(typed, [idle_options_on_cache(member, find) for member in members])


def _config_of(composed: DictConfig) -> AdaptConfig:
    """The configuration with these options, in the spelling by which its member is named."""
    return resolved(to_config(AdaptConfig, composed), lambda cache: _features(cache, Path.cwd()))


@functools.cache  # a job asks several times, and a bucket takes its time to answer
def _features(cache: str, folder: Path) -> FeatureIdentity:  # noqa: ARG001 -- of a relative path
    return features_of(cache)


def _from_here(folder: str) -> Path:
    """The path relative to the current folder, if it is below that folder."""
    path = Path(folder)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _remove_if_empty(*folders: Path) -> None:
    """Remove empty folders: Hydra creates them before the options are checked."""
    for folder in folders:
        if Path.cwd().is_relative_to(folder.absolute()):
            return
        try:
            folder.rmdir()
        except OSError:
            return


def member_name(_root_: DictConfig) -> str:
    """Name of the output folder of the composed configuration, for Hydra.

    Raises:
        LosaError: options are missing or invalid. Not in a multirun, which an error would end here: the job
            gets the folder of the sweep, and fails for the same reason when it starts.
    """
    try:
        member = as_candidate(_config_of(_root_))
    except LosaError:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return "."
        raise
    hydra = HydraConfig.get()
    parent = hydra.sweep.dir if hydra.mode is RunMode.MULTIRUN else local_path(member.out)
    return member_folder(Path(hydra.runtime.cwd, parent), member).name


def run() -> None:
    """Run losa-adapt as a command."""
    candidates = Candidates()

    @wraps(task)
    def task_with_candidates(composed: DictConfig) -> JobResult:
        return task(composed, candidates)

    OmegaConf.register_new_resolver("member_name", member_name, replace=True)
    OmegaConf.register_new_resolver("local_path", lambda text: str(local_path(text)), replace=True)
    with tracking(sys.argv[1:]):
        run_command("adapt", AdaptConfig, task_with_candidates, candidates.conclude)
