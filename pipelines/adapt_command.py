"""losa-adapt: the command of the second stage."""

import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from losa.adapt import AdaptConfig, adapt
from losa.pipelines.command_line import run_command, to_config

_log = logging.getLogger(__name__)


def task(composed: DictConfig) -> dict[str, Any]:
    """Train one member; the summary goes to the table of a multirun."""
    folder = _from_here(Path(HydraConfig.get().runtime.output_dir))
    summary = adapt(to_config(AdaptConfig, composed), folder)
    scores = ", ".join(f"{split} accuracy {score:.4f}" for split, score in summary["accuracy"].items())
    _log.info("%s: %s, %s parameters", folder, scores, f"{summary['parameters']:,}")
    return summary


def _from_here(folder: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def member_name(_root_: DictConfig) -> str:
    """Name of the output folder of the composed configuration, for Hydra."""
    options = OmegaConf.masked_copy(_root_, [str(name) for name in _root_ if name != "hydra"])
    return to_config(AdaptConfig, options).member_name


def main() -> None:
    """Entry point."""
    OmegaConf.register_new_resolver("member_name", member_name, replace=True)
    run_command("adapt", AdaptConfig, task)
