"""The trainings of a comparison on one data set: found finished, or done now."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from losa.extract import FrozenBackbone
from losa.pipelines.bench.live.data import LiveData
from losa.pipelines.bench.live.methods import Method, make_model, trained_parameters
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.bench.live.training import Diverged, TrainingOptions, score, train

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What differs between the trainings on a data set."""

    method: Method
    rank: int | None
    """None for a method without one."""
    lr: float
    seed: int
    """Initialises the model and orders the images."""
    train_split: str
    scored_split: str


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """What all trainings on a data set share, and the records of those that are finished."""

    name: str
    """Of the data set."""
    data: LiveData
    backbone: FrozenBackbone
    targets: Sequence[str]
    """Linear layers that LoRA changes."""
    options: TrainingOptions
    device: str
    seconds: float
    """Time limit of a training."""
    records: TrainingRecords

    def result(self, configuration: Configuration) -> dict[str, Any]:
        """Find the result of a training, or train and score.

        Returns:
            ``parameters`` (number of trained ones, head included), ``device``, and ``accuracy`` on the scored
            split, a fraction, None if the training diverged. If it did not, also what `train` returns.

        Raises:
            LosaError: the method does not fit the backbone, the training would take too long, an image cannot
                be decoded, or a record is damaged.
        """
        determining = self._determining(configuration)
        label = (
            f"{self.name[:100]}-{configuration.method}-lr{configuration.lr:g}-seed{configuration.seed}"
            f"-{configuration.scored_split}"
        )
        found = self.records.find(label, determining)
        if found is None:
            found = self._train(configuration)
            self.records.keep(label, determining, found)
        return found

    def _train(self, configuration: Configuration) -> dict[str, Any]:
        model = make_model(
            configuration.method,
            copy.deepcopy(self.backbone.model),
            rank=configuration.rank,
            targets=self.targets,
            num_classes=self.data.column.num_classes,
            seed=configuration.seed,
        ).to(self.device)
        known = {"parameters": trained_parameters(model), "device": self.device}
        described = f"{self.name}: {configuration.method}, lr {configuration.lr:g}, seed {configuration.seed}"
        try:
            trained = train(
                model,
                self.data,
                configuration.train_split,
                self.options,
                lr=configuration.lr,
                weight_decay=self._decay(configuration),
                seed=configuration.seed,
                device=self.device,
                seconds=self.seconds,
                description=described,
            )
        except Diverged as error:
            _log.warning("%s: %s", described, error)
            return known | {"accuracy": None}
        accuracy = score(model, self.data, configuration.scored_split, self.options, self.device)
        return known | trained | {"accuracy": accuracy}

    def _determining(self, configuration: Configuration) -> dict[str, Any]:
        """Everything that determines the result. Device and threads change its last bits alone."""
        configured = asdict(configuration)
        return {
            **{name: configured[name] for name in ("method", "rank", "lr", "seed")},
            "targets": sorted(self.targets) if configuration.method == "lora" else None,
            "training": asdict(self.options) | {"weight_decay": self._decay(configuration)},
            "classes": self.data.column.num_classes,
            "images": self.data.fingerprint(configuration.train_split),
            "scored_images": self.data.fingerprint(configuration.scored_split),
            "backbone": asdict(self.backbone.identity),
            "preprocessing": asdict(self.backbone.preprocessing),
        }

    def _decay(self, configuration: Configuration) -> float:
        images = len(self.data.labels(configuration.train_split))
        return self.options.decay(configuration.method, configuration.lr, images)
