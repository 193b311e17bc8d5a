"""The job of losa-extract: one extraction."""

import logging

from omegaconf import DictConfig

from losa.extract import ExtractConfig, extract
from losa.pipelines.command_line import run_command, to_config
from losa.pipelines.shell_override import shell_override

_log = logging.getLogger(__name__)


def task(composed: DictConfig) -> None:
    """Run one extraction and log the next command to run."""
    config = to_config(ExtractConfig, composed)
    if not config.backbone.pretrained and config.backbone.checkpoint is None:
        _log.warning(
            "The backbone is untrained: its weights are random (backbone.seed=%d). Its features are good for "
            "trying things out, not for results.",
            config.backbone.seed,
        )
    done = extract(config)
    if not done.finished:
        return
    skipped = f", {done.invalid} of them recorded as invalid" if done.invalid else ""
    _log.info("%s: %d images extracted%s, %.0f s", done.cache, done.images, skipped, done.seconds)
    _log.info("next: losa-adapt %s side=losa rank=8", shell_override("cache", str(done.cache)))


def run() -> None:
    """Run losa-extract as a command."""
    run_command("extract", ExtractConfig, task)
