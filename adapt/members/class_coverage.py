"""Classes that a member is scored on, or has an output for, without an image to learn them from."""

import logging

import numpy as np

from losa.adapt.data.labelled_images import LabelledImages
from losa.cache_format import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL

_log = logging.getLogger(__name__)

_NAMED_CLASSES = 5


def warn_of_unseen_classes(
    columns: tuple[LabelColumn, ...],
    train_split: str,
    training: LabelledImages,
    name: str,
    scoring: LabelledImages,
) -> None:
    """Warn of classes that occur in a scored split but never in training.

    Args:
        columns: the label columns.
        train_split: name of the training split in the message.
        training: images that are trained on.
        name: name of the scored split.
        scoring: images that are scored.
    """
    for column, trained, scored in zip(columns, training.labels.T, scoring.labels.T, strict=True):
        unseen = ~np.isin(scored, trained) & (scored != MISSING_LABEL)
        classes = np.unique(scored[unseen])
        if len(classes):
            _log.warning(
                "%d of %d images of %s are of %d classes without an image in %s, so never right (%s: %s)",
                unseen.sum(),
                (scored != MISSING_LABEL).sum(),
                name,
                len(classes),
                train_split,
                column.name,
                _listed(column, classes),
            )


def tell_unused_classes(columns: tuple[LabelColumn, ...], *used: LabelledImages) -> None:
    """Tell of classes of a column that no image has, although each has an output.

    Args:
        columns: the label columns.
        used: the images of all splits that are used.
    """
    for number, column in enumerate(columns):
        found = np.concatenate([images.labels[:, number] for images in used])
        unused = np.setdiff1d(np.arange(column.num_classes), found)
        if len(unused):
            _log.info(
                "%d of the %d classes of %s occur in none of the splits used: %s",
                len(unused),
                column.num_classes,
                column.name,
                _listed(column, unused),
            )


def _listed(column: LabelColumn, classes: np.ndarray) -> str:
    """The first of some classes, by name if they have names."""
    first = classes[:_NAMED_CLASSES].tolist()
    names = [str(label) if column.classes is None else column.classes[label] for label in first]
    return ", ".join([*names, *(["..."] if len(classes) > len(first) else [])])
