"""Which images of a split the members of a study recognise, and what follows for their differences.

The standard error over seeds says how well an accuracy is known on these images. Whether a side network is
better than another one on images of this kind depends on the images as well, and far more so.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from losa.adapt import CachedStream, load_side_network, score, stack_side_networks
from losa.adapt.trained.side_network import split_columns
from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import Cache
from losa.cache_format.common.device import resolve_device
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.pipelines.bench.study.rows import Row, StudyRow
from losa.pipelines.cells import Cell


def with_correct_images(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """The rows, each with the images that its member recognises, read in one pass over the split.

    Args:
        rows: members that were trained from one cache and scored on one split. Failed ones stay as they are.

    Raises:
        LosaError: the cache or a side network cannot be read.
    """
    trained = {
        str(number): load_side_network(Path(row.summary.folder))
        for number, row in enumerate(rows)
        if row.summary is not None
    }
    if not trained:
        return list(rows)
    found = correct_images(stack_side_networks(trained), rows[0])
    correct = dict(zip(map(int, trained), found, strict=True))
    return [replace(row, correct=correct.get(number)) for number, row in enumerate(rows)]


def correct_images(networks: StackedSideNetworks, row: StudyRow) -> list[Float[np.ndarray, "images"]]:
    """`StudyRow.correct` of side networks, read in one pass over the split.

    Args:
        networks: the side networks.
        row: a member of the same cache, labels and split.

    Raises:
        LosaError: the cache cannot be read.
    """
    device = resolve_device(row.config.device)
    networks = networks.to(device)
    cache = Cache(row.config.cache)
    split = cache.split(row.split)
    labels = np.stack([split.labels(name) for name in row.config.labels], axis=1)[split.valid]
    found: list[list[Float[np.ndarray, "images"]]] = [[] for _ in networks.names]
    start = 0
    for batch in score(networks, CachedStream(cache, row.split, networks, device=device)):
        true = labels[start : start + len(batch.keys)]
        start += len(true)
        for each, scores, columns in zip(found, batch.scores, networks.columns, strict=True):
            parts = [part.argmax(dim=-1).cpu().numpy() for part in split_columns(scores, columns)]
            each.append(_correct(np.stack(parts, axis=1), true))
    return [np.concatenate(each) for each in found]


def _correct(predicted: np.ndarray, true: np.ndarray) -> Float[np.ndarray, "images"]:
    """For each image the part of its labels that is predicted; NaN if it has none."""
    known = true != MISSING_LABEL
    right = ((predicted == true) & known).sum(axis=1)
    counts = known.sum(axis=1)
    return np.where(counts > 0, right / np.maximum(counts, 1), np.nan)


def difference_of(rows: Sequence[Row], others: Sequence[Row]) -> Cell | None:
    """By how much one configuration recognises more images than another one, in percent.

    Seeds and images are taken for random draws: the squared standard error is that of the mean over images
    (each averaged over the seeds) plus what seeds add to it.

    Args:
        rows: the members of a configuration on a data set, of each seed.
        others: those of the other configuration, of the same seeds.

    Returns:
        The difference; None if a member failed, or there is no image to compare.
    """
    ours, theirs = ([row.correct for row in members if row.correct is not None] for members in (rows, others))
    if not ours or len(ours) < len(rows) or len(theirs) < len(ours):
        return None
    differences = 100 * (np.stack(ours) - np.stack(theirs))
    differences = differences[:, ~np.isnan(differences).any(axis=0)]
    seeds, images = differences.shape
    if images < 2:
        return None
    mean = differences.mean()
    by_image = differences.mean(axis=0) - mean
    squared = by_image.var(ddof=1) / images
    if seeds > 1:
        by_seed = differences.mean(axis=1) - mean
        rest = differences - mean - by_image - by_seed[:, None]
        noise = (rest**2).sum() / ((seeds - 1) * (images - 1))
        squared += max(0.0, by_seed.var(ddof=1) / seeds - noise / (seeds * images))
    return Cell(float(mean), math.sqrt(squared))
