"""The job of losa-export: side networks as a file of a model, in a folder, or on the hub."""

import logging
import sys
from collections.abc import Collection, Sequence

from omegaconf import DictConfig

from losa.adapt.trained.stacking import stack_side_networks
from losa.cache_format import LosaError
from losa.cache_format.common.units import counted
from losa.pipelines.classifier.hub import HubPlace
from losa.pipelines.classifier.matching_backbone import matching_backbone
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.classifier.side_network_folders import find_side_networks, load_side_networks
from losa.pipelines.command_line import to_config
from losa.pipelines.export.config import ExportConfig
from losa.pipelines.export.destination import FolderPath, ModelPath, destination
from losa.pipelines.export.hub import publish_side_networks
from losa.pipelines.export.model_file import MODEL_FORMATS, write_model
from losa.pipelines.export.side_network_files import CARD, write_side_networks
from losa.pipelines.places import run_with_places
from losa.pipelines.predict.images import find_images

_log = logging.getLogger(__name__)


def task(composed: DictConfig, places: Sequence[str]) -> None:
    """Export the side networks in some places."""
    config = to_config(ExportConfig, composed)
    if not places:
        raise LosaError("name side networks: losa-export runs/sweep to=model.onnx")
    to = destination(config.to)
    if isinstance(to, ModelPath):
        _export_model(to, config, places)
        return
    if config.images is not None:
        raise LosaError(f"images=...: there is no model to check in to={config.to}, which has no backbone")
    if config.ensemble:
        raise LosaError(
            f"ensemble=true: to={config.to} keeps each side network as it is. Whoever uses them averages "
            "them, by losa-predict ... ensemble=true or load(..., ensemble=True)"
        )
    sources = find_side_networks(places)
    if isinstance(to, HubPlace):
        commit = publish_side_networks(to, sources, private=config.private)
        _log.info("%s: %s, in %s", to, _counted(sources), commit)
    elif isinstance(to, FolderPath):
        written = write_side_networks(to.path, sources, str(to.path))
        kept = "" if written else f"; {CARD} is the one that was there"
        _log.info("%s: %s%s", to.path, _counted(sources), kept)


def _export_model(to: ModelPath, config: ExportConfig, places: Sequence[str]) -> None:
    MODEL_FORMATS[to.path.suffix].prepare()
    images = [config.images] if isinstance(config.images, str) else config.images
    files = () if images is None else find_images(images).files
    trained = load_side_networks(places)
    networks = stack_side_networks(trained, ensemble=config.ensemble)
    classifier = Classifier(matching_backbone(networks, config.backbone), networks)
    agreement = write_model(to.path, classifier, trained, files)
    _log.info(
        "%s and %s.json: %s with the backbone; on %s the class scores differ by at most %.0e of their "
        "spread, %.4g %% of the predictions are the same",
        to.path,
        to.path.name,
        networks.title,
        f"{counted(agreement.images, 'image', 'images')} and 8 drawn ones" if files else "8 drawn images",
        agreement.largest_difference,
        100 * agreement.same_class,
    )


def _counted(networks: Collection[str]) -> str:
    return counted(len(networks), "side network", "side networks")


def run() -> None:
    """Run losa-export as a command; ``--to FILE`` is ``to=FILE``, because other exporters spell it so."""
    before = sys.argv
    sys.argv = _with_option(before)
    try:
        run_with_places("export", ExportConfig, task)
    finally:
        sys.argv = before


def _with_option(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``to=FILE`` for ``--to FILE`` and ``--to=FILE``.

    >>> _with_option(["losa-export", "runs/sweep", "--to", "model.onnx"])
    ['losa-export', 'runs/sweep', 'to=model.onnx']
    """
    found = [
        argument.removeprefix("--") if argument.startswith("--to=") else argument for argument in arguments
    ]
    for place in [index for index, argument in enumerate(found[:-1]) if argument == "--to"]:
        found[place : place + 2] = [f"to={found[place + 1]}"]
    return found
