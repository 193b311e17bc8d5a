"""The job of losa-evaluate: one evaluation."""

import logging
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from losa.cache_format import LosaError
from losa.extract import ExtractConfig
from losa.pipelines import resolvers
from losa.pipelines.command_line import to_config
from losa.pipelines.evaluation.config import EvaluateConfig
from losa.pipelines.evaluation.evaluation import evaluate
from losa.pipelines.evaluation.results import RESULTS
from losa.pipelines.options import options_of
from losa.pipelines.places import run_with_places
from losa.pipelines.plain_console import PlainConsole

_log = logging.getLogger(__name__)

resolvers.register()


def task(composed: DictConfig, places: Sequence[str]) -> None:
    """Judge the side networks, and print the table."""
    config = to_config(EvaluateConfig, without_preset(composed, HydraConfig.get().overrides.task))
    if not places:
        raise LosaError("name side networks: losa-evaluate runs/sweep cache=caches/digits")
    done = evaluate(places, config)
    PlainConsole().print(done.results.table())
    if done.results.invalid_images:
        _log.warning(
            "%d images could not be read, and are not judged on: %s names them",
            len(done.results.invalid_images),
            RESULTS,
        )
    _log.info("%s", done.folder)


def without_preset(composed: DictConfig, typed: Sequence[str]) -> DictConfig:
    """The configuration without what presets of data sets say of preprocessing, which side networks know.

    Args:
        composed: the composed configuration.
        typed: the options as they were typed.

    Raises:
        LosaError: one of them was typed.
    """
    preset = options_of(ExtractConfig).keys() - options_of(EvaluateConfig).keys()
    for argument in typed:
        if (name := argument.lstrip("+").partition("=")[0]) in preset:
            raise LosaError(
                f"there is no option {name!r}: images are prepared as they were for the training of the side "
                "networks"
            )
    kept = [str(name) for name in composed if name not in preset]
    return OmegaConf.masked_copy(composed, kept)


def run() -> None:
    """Run losa-evaluate as a command."""
    run_with_places("evaluate", EvaluateConfig, task)
