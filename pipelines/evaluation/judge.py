"""Judges side networks batch by batch: what they predict, and how well."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from losa.adapt import StackedSideNetworks
from losa.adapt.trained.side_network import split_columns
from losa.cache_format import LabelColumn, LosaError
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.pipelines.evaluation.judged_images import LabelledImages
from losa.pipelines.evaluation.label_matching import matched_labels
from losa.pipelines.evaluation.tally import Figures, Tally


class Output(NamedTuple):
    """One label column of one side network."""

    network: int
    """Number of the side network."""
    side_network: str
    column: LabelColumn
    place: int
    """Number of the column in the side network."""


class Predicted(NamedTuple):
    """What all outputs say of some images."""

    classes: Int64[np.ndarray, "images outputs"]
    """Number of the likeliest class."""
    probabilities: Float64[np.ndarray, "images outputs"]
    """Its probability, from 0 to 1."""


class Judge:
    """Counts the predictions of all side networks. Those with the same classes are counted together.

    Attributes:
        outputs: the label columns of all side networks, in their order.
    """

    def __init__(self, networks: StackedSideNetworks, images: LabelledImages, device: str) -> None:
        """Match the labels of the images with the classes of the side networks.

        Args:
            networks: the side networks.
            images: the images, with their labels.
            device: the compute device.

        Raises:
            LosaError: the images have other label columns or classes, or no image has a label.
        """
        self.outputs = [
            Output(number, name, column, place)
            for number, (name, columns) in enumerate(zip(networks.names, networks.columns, strict=True))
            for place, column in enumerate(columns)
        ]
        self._networks = networks
        self._device = device
        self._members: dict[LabelColumn, list[int]] = {}
        for number, output in enumerate(self.outputs):
            self._members.setdefault(output.column, []).append(number)
        self._labels = {
            column: matched_labels(self.outputs[first].side_network, column, images.columns, images.labels)
            for column, (first, *_) in self._members.items()
        }
        if all((labels == MISSING_LABEL).all() for labels in self._labels.values()):
            names = ", ".join(dict.fromkeys(column.name for column in self._labels))
            raise LosaError(
                f"{images.name}: no image has a label in {names}: there is nothing to judge on. losa-predict "
                "needs no labels"
            )
        self._tallies = {
            column: Tally(len(members), column.num_classes, device)
            for column, members in self._members.items()
        }

    def labels(self, rows: Int64[np.ndarray, "images"]) -> Int64[np.ndarray, "images outputs"]:
        """Labels of images in the classes of each output, -1 where there is none."""
        return np.stack([self._labels[output.column][rows] for output in self.outputs], axis=1)

    def add(self, scores: Sequence[Tensor], rows: Int64[np.ndarray, "images"]) -> Predicted:
        """Count a batch.

        Args:
            scores: class scores ``(images, classes)`` of each side network, over all its label columns.
            rows: positions of the images.
        """
        parts = list(map(split_columns, scores, self._networks.columns))
        classes = np.empty((len(rows), len(self.outputs)), np.int64)
        probabilities = np.empty(classes.shape, np.float64)
        for column, members in self._members.items():
            chosen = [self.outputs[number] for number in members]
            found = torch.stack([parts[output.network][output.place] for output in chosen])
            likely = found.double().log_softmax(dim=-1)
            labels = torch.from_numpy(self._labels[column][rows]).to(self._device)
            self._tallies[column].add(likely, labels)
            best = likely.argmax(dim=-1, keepdim=True)
            classes[:, members] = best[..., 0].T.cpu().numpy()
            probabilities[:, members] = likely.gather(-1, best)[..., 0].exp().T.cpu().numpy()
        return Predicted(classes, probabilities)

    def figures(self) -> list[Figures]:
        """How well each output predicts."""
        found: dict[int, Figures] = {}
        for column, members in self._members.items():
            found |= zip(members, self._tallies[column].result(), strict=True)
        return [found[number] for number in range(len(self.outputs))]

    def state(self) -> dict[str, Tensor]:
        """All counts so far, for `load_state` of a judge of the same side networks and images."""
        return {
            f"{number}.{name}": value
            for number, tally in enumerate(self._tallies.values())
            for name, value in tally.state().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the counts of another judge."""
        for number, tally in enumerate(self._tallies.values()):
            prefix = f"{number}."
            own = [name for name in state if name.startswith(prefix)]
            tally.load_state({name.removeprefix(prefix): state[name] for name in own})
