"""The job of losa-predict: the predictions of side networks for images that no cache holds."""

import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile

from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from losa.adapt import score
from losa.adapt.trained.scoring import ScoredBatch
from losa.adapt.trained.stacked import StackedSideNetworks
from losa.adapt.trained.stacking import stack_side_networks
from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import counted
from losa.extract.live import LiveActivations
from losa.extract.sources.image_files import ImageFiles
from losa.pipelines.classifier.clip_averaging import averaged
from losa.pipelines.classifier.hub import is_on_hub
from losa.pipelines.classifier.matching_backbone import matching_backbone
from losa.pipelines.classifier.media import refuse_other_media
from losa.pipelines.classifier.prediction import Prediction, by_image, predictions
from losa.pipelines.classifier.side_network_folders import (
    find_side_networks,
    holds_side_networks,
    load_side_networks,
)
from losa.pipelines.command_line import to_config
from losa.pipelines.ending import discard_output
from losa.pipelines.places import run_with_places
from losa.pipelines.predict.config import PredictConfig
from losa.pipelines.predict.formats import text_format
from losa.pipelines.predict.images import find_images
from losa.pipelines.predict.output import output_file, writing

_log = logging.getLogger(__name__)


def task(composed: DictConfig, places: Sequence[str]) -> None:
    """Write the predictions for the images."""
    config = to_config(PredictConfig, composed)
    runs, image_places = split_runs(places)
    trained = load_side_networks(runs)
    networks = stack_side_networks(trained, ensemble=config.ensemble)
    videos = networks.preprocessing.sampling is not None
    images = find_images(image_places, "videos" if videos else "images")
    refuse_other_media(networks, videos, config.clips, config.crops)
    path = output_file(config.out)
    for note in images.notes:
        _log.info("%s", note)
    live = _live(config, networks, images.files)
    on_terminal = path is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else None
    form = text_format(config.format, networks, images.files, width)
    readable = 0
    try:
        with writing(path) as write:
            for image, found in by_image(_predictions(live, networks, config, shown=not on_terminal)):
                write(form.of_image(image, found) if readable else form.head + form.of_image(image, found))
                readable += 1
            if not readable:
                raise LosaError("no image could be read")
    except BrokenPipeError:  # whoever reads the output, such as head, has seen enough
        discard_output()
        return
    if live.invalid:
        _log.warning("%d of %d images could not be read, and are left out", len(live.invalid), len(live))
    if path is not None:
        _log.info("%s: predictions for %s", path, counted(readable, "image", "images"))


def split_runs(places: Sequence[str]) -> tuple[list[str], list[str]]:
    """The leading places, which hold side networks, and those behind them, which are images.

    Raises:
        LosaError: there are no side networks, or no images.
    """
    # A repository is fetched once, when it is loaded: there are no images on the hub.
    runs = list(takewhile(lambda place: is_on_hub(place) or holds_side_networks(place), places))
    images = list(places[len(runs) :])
    if not places:
        raise LosaError("name side networks, then images: losa-predict runs/sweep photo.jpg")
    if not runs:
        find_side_networks(places[:1])  # says what is in the first place instead
    if not images:
        raise LosaError(
            "there are no images: name files, folders or patterns after the side networks, as in "
            f"losa-predict {runs[0]} photo.jpg"
        )
    return runs, images


def _live(config: PredictConfig, networks: StackedSideNetworks, images: Sequence[str]) -> LiveActivations:
    device = resolve_device(config.device)
    backbone = matching_backbone(networks, config.backbone)
    networks.to(device)
    return LiveActivations(
        backbone,
        ImageFiles(),
        images,
        sites=networks.sites,
        preprocessing=networks.preprocessing,
        options=config,
        device=device,
        batch_size=config.batch_size,
        clips=config.clips,
        crops=config.crops,
    )


def _predictions(
    live: LiveActivations, networks: StackedSideNetworks, config: PredictConfig, *, shown: bool
) -> Iterator[Prediction]:
    """The predictions, image by image, with a progress bar if it is ``shown``."""
    with (
        logging_redirect_tqdm(),
        progress_bar(len(live), "predicting", "img", leave=False, disable=not shown) as bar,
    ):
        batches: Iterator[ScoredBatch] = score(networks, live)
        if (clips := config.clips * config.crops) > 1:
            batches = averaged(batches, networks.columns, clips)
        for keys, scores in batches:
            yield from predictions(networks, keys, scores, config.top)
            bar.update(len(keys))


def run() -> None:
    """Run losa-predict as a command."""
    run_with_places("predict", PredictConfig, task)
