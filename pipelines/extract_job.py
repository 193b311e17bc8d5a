"""The job of losa-extract: one extraction."""

import json
import logging
import sys
from functools import wraps

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from losa.cache_format import Cache, LosaError
from losa.cache_format.common.units import counted
from losa.extract import ExtractConfig, extract
from losa.pipelines import resolvers
from losa.pipelines.command_line import run_command, to_config
from losa.pipelines.next_command import next_command

_log = logging.getLogger(__name__)

resolvers.register()


JSON = "--json"


def task(composed: DictConfig, *, as_json: bool = False) -> None:
    """Run one extraction and log the next command to run.

    Args:
        composed: the options.
        as_json: whether the plan is printed as JSON.

    Raises:
        LosaError: an error that the user can correct; the message says how.
    """
    config = to_config(ExtractConfig, composed)
    if as_json and not config.plan:
        raise LosaError(f"{JSON} prints the plan of an extraction: add plan=true")
    if not config.backbone.pretrained and config.backbone.checkpoint is None:
        _log.warning(
            "The backbone is untrained: its weights are random (backbone.seed=%d). Its features are good for "
            "trying things out, not for results.",
            config.backbone.seed,
        )
    done = extract(config)
    if as_json:
        print(json.dumps(done.plan.as_json()))
    if not done.finished:
        return
    skipped = f", {done.invalid} of them recorded as invalid" if done.invalid else ""
    images = counted(done.images, "image", "images")
    _log.info("%s: %s extracted%s, %.0f s", done.cache, images, skipped, done.seconds)
    if config.part is not None:
        _log.info("next: losa-cache merge PART PART ... --to CACHE, with the caches of all parts")
        return
    _log.info("%s", next_command(Cache(done.cache), HydraConfig.get().overrides.task))


def run() -> None:
    """Run losa-extract as a command."""
    arguments = sys.argv[1:]

    @wraps(task)
    def job(composed: DictConfig) -> None:
        task(composed, as_json=JSON in arguments)

    run_command("extract", ExtractConfig, job, arguments=[word for word in arguments if word != JSON])
