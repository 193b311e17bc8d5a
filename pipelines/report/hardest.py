"""The images that the best side network of a task finds hardest, judged again from the cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from losa.adapt import CachedStream, StackedSideNetworks, load_side_network, score
from losa.adapt.trained.side_network import split_columns
from losa.cache_format import LabelColumn, LosaError, Split
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.pipelines.classifier.prediction import class_name
from losa.pipelines.report.configurations import Task
from losa.pipelines.report.inputs.summaries import read_summary
from losa.pipelines.report.thumbnails import Thumbnails
from losa.pipelines.report.used_caches import open_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class HardImage:
    """An image, and what is predicted for it. Probabilities are means over the seeds."""

    key: str
    true: str
    predicted: str
    true_probability: float
    predicted_probability: float
    thumbnail: str | None
    """A ``data:`` URL; None if the image was not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardImages:
    """The hardest images of a task in one label column, the hardest first."""

    column: str
    images: Sequence[HardImage]
    wrong: int
    """Number of images of which the mean prediction is wrong."""
    judged: int
    """Number of images that have a label."""


def hardest_images(task: Task, most: int, device: str, thumbnails: Thumbnails) -> list[HardImages]:
    """The images whose true class gets the lowest probability, for each label column.

    Args:
        task: a task with a best configuration, whose side networks are joined.
        most: number of images.
        device: the compute device.
        thumbnails: finds the pictures.

    Raises:
        LosaError: side networks or cache are gone or damaged, or the cache has other features now.
    """
    assert task.examined is not None, "the caller asks for tasks with a result"
    assert task.split is not None, "as above"
    folders = task.examined.folders
    summary = read_summary(folders[0]) if folders else None
    if summary is None:
        raise LosaError("the folders of its members were not found")
    cache = open_cache(summary, folders[0])
    trained = {str(folder): load_side_network(folder) for folder in folders}
    networks = StackedSideNetworks(trained).to(device)
    split = cache.split(task.split, networks.sites)
    judged = _judged(CachedStream(cache, task.split, networks, device=device), split, networks, task.name)
    decoding = cache.manifest.features.preprocessing.decoding
    return [
        _hardest(split, column, found, most, thumbnails.with_rules(decoding))
        for column, found in zip(networks.columns[0], judged, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What is predicted for the labelled images of a split, in one label column."""

    positions: Int64[np.ndarray, "images"]
    true: Int64[np.ndarray, "images"]
    predicted: Int64[np.ndarray, "images"]
    true_probability: Float64[np.ndarray, "images"]
    predicted_probability: Float64[np.ndarray, "images"]


def _judged(stream: CachedStream, split: Split, networks: StackedSideNetworks, name: str) -> list[_Judged]:
    """Judge all valid images, for each label column."""
    columns = networks.columns[0]
    valid = np.flatnonzero(split.valid)
    labels = [split.labels(column.name)[valid] for column in columns]
    found: list[list[Tensor]] = [[] for _ in columns]
    done = 0
    with progress_bar(len(stream), f"{name}: judging the best configuration", "img", leave=False) as bar:
        for batch in score(networks, stream):
            rows = slice(done, done + len(batch.keys))
            parts = [split_columns(scores, columns) for scores in batch.scores]
            for place in range(len(columns)):
                likely = torch.stack([part[place].double().softmax(dim=-1) for part in parts]).mean(dim=0)
                # Where there is no label, any class will do: such images are left out below.
                true = torch.from_numpy(labels[place][rows]).clamp(min=0).to(likely.device)
                best = likely.max(dim=-1)
                of_true = likely.gather(-1, true[:, None])[:, 0]
                found[place].append(torch.stack([of_true, best.values, best.indices.double()]).cpu())
            done = rows.stop
            bar.update(len(batch.keys))
    judged = []
    for place, parts_of_column in enumerate(found):
        known = labels[place] != MISSING_LABEL
        true_probability, best_probability, best_class = torch.cat(parts_of_column, dim=1).numpy()[:, known]
        judged.append(
            _Judged(
                valid[known],
                labels[place][known],
                best_class.astype(np.int64),
                true_probability,
                best_probability,
            )
        )
    return judged


def _hardest(
    split: Split, column: LabelColumn, judged: _Judged, most: int, thumbnails: Thumbnails
) -> HardImages:
    order = np.argsort(judged.true_probability, kind="stable")[:most]
    hashes = split.source_hashes
    images = [
        HardImage(
            key=split.keys[position],
            true=class_name(column, int(judged.true[row])),
            predicted=class_name(column, int(judged.predicted[row])),
            true_probability=float(judged.true_probability[row]),
            predicted_probability=float(judged.predicted_probability[row]),
            # A scalar of numpy would lack the zeros at its end.
            thumbnail=thumbnails.find(split.keys[position], hashes[[position]].tobytes()),
        )
        for row, position in zip(order, judged.positions[order], strict=True)
    ]
    return HardImages(
        column=column.name,
        images=images,
        wrong=int((judged.true != judged.predicted).sum()),
        judged=len(judged.positions),
    )
