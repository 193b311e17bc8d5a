"""losa-adapt: the command of the second stage."""

import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from losa.adapt import AdaptConfig, adapt
from losa.cache_format import LosaError
from losa.pipelines.command_line import run_command, to_config

_log = logging.getLogger(__name__)


def task(composed: DictConfig) -> dict[str, Any]:
    """Train one member; the summary goes to the table of a multirun."""
    folder = _from_here(Path(HydraConfig.get().runtime.output_dir))
    try:
        summary = adapt(to_config(AdaptConfig, composed), folder)
    except Exception:
        _remove_if_empty(folder, folder.parent)
        raise
    scores = ", ".join(f"{split} accuracy {score:.4f}" for split, score in summary["accuracy"].items())
    _log.info("%s: %s, %s parameters", folder, scores, f"{summary['parameters']:,}")
    return summary


def _from_here(folder: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _remove_if_empty(*folders: Path) -> None:
    """Hydra makes the folders before the options are looked at."""
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
        LosaError: options that are missing or invalid. Not in a multirun, which an error would end here:
            the job gets the sweep's own folder, and fails for the same reason when it starts.
    """
    options = OmegaConf.masked_copy(_root_, [str(name) for name in _root_ if name != "hydra"])
    try:
        return to_config(AdaptConfig, options).member_name
    except LosaError:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return "."
        raise


def main() -> None:
    """Entry point."""
    OmegaConf.register_new_resolver("member_name", member_name, replace=True)
    run_command("adapt", AdaptConfig, task)
