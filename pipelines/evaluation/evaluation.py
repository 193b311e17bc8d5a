"""Judges trained side networks on the images of a split, in one pass over their activations."""

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from losa.adapt import Ensemble, score, stack_side_networks
from losa.adapt.trained.scoring import ScoredBatch
from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.hashes import hash_array, hash_keys
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.identity import Preprocessing
from losa.cache_format.storage.paths import local_path
from losa.cache_format.storage.sealed_json import canonical
from losa.pipelines.classifier.clip_averaging import averaged
from losa.pipelines.classifier.matching_backbone import matching_backbone
from losa.pipelines.classifier.side_network_folders import load_side_networks
from losa.pipelines.evaluation.config import EvaluateConfig
from losa.pipelines.evaluation.judge import Judge
from losa.pipelines.evaluation.judged_images import CachedImages, JudgedImages, LiveImages
from losa.pipelines.evaluation.output_folder import OutputFolder
from losa.pipelines.evaluation.prediction_files import PredictionFiles
from losa.pipelines.evaluation.progress import Progress
from losa.pipelines.evaluation.results import Judgement, Results, best_first, confusion_of

EVALUATIONS = Path("evaluations")
SECONDS_BETWEEN_SAVES = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A finished evaluation."""

    folder: Path
    results: Results


def evaluate(places: Sequence[str], config: EvaluateConfig, parent: Path = EVALUATIONS) -> Evaluation:
    """Judge side networks, or find them judged already.

    Args:
        places: folders of side networks, of sweeps, or patterns.
        config: the options.
        parent: where the folder of the results is, unless ``config.out`` names it.

    Raises:
        LosaError: side networks, backbone, images and labels do not fit together, an image cannot be read, or
            the folder holds another evaluation.
    """
    return Evaluator(places, config, parent).run()


class Evaluator:
    """One evaluation: its side networks, its images, and the folder of its results."""

    def __init__(self, places: Sequence[str], config: EvaluateConfig, parent: Path = EVALUATIONS) -> None:
        """Load and open everything; nothing is written yet.

        Raises:
            LosaError: see `evaluate`.
        """
        self._config = config
        self._parent = parent
        device = resolve_device(config.device)
        trained = load_side_networks(places)
        joined = Ensemble(trained, with_members=True) if config.ensemble else stack_side_networks(trained)
        self._networks = joined.to(device)
        self._images: JudgedImages
        if config.dataset is None:
            self._images = CachedImages(config, self._networks, device)
        else:
            backbone = matching_backbone(self._networks, config.backbone)
            self._images = LiveImages(config.dataset, config, self._networks, backbone, device)
        for note in self._images.notes:
            _log.warning("%s", note)
        self._judge = Judge(self._networks, self._images, device)
        self._identity = self._hash({name: each.tensors_sha256 for name, each in trained.items()})
        self._folder = OutputFolder(self._path(), self._identity)
        self._files = PredictionFiles(self._folder.path, config.predictions, self._judge.outputs)

    def run(self) -> Evaluation:
        """Judge the images that are not done yet, and write the results."""
        found = None
        if self._config.overwrite:
            self._folder.clear()
        else:
            found = self._folder.results()
        if found is None:
            self._folder.refuse_unwritable()
            invalid = self._judge_images()
            found = self._results(invalid)
            figures = self._judge.figures()
            confusion = confusion_of(self._judge.outputs, figures, self._config.eval_split)
            found.write(self._folder.path, confusion)
            self._folder.finish()
        return Evaluation(folder=self._folder.path, results=found)

    def _judge_images(self) -> list[str]:
        """Count the predictions for all images that are not done yet.

        Returns:
            The invalid images, a line for each.
        """
        earlier = self._folder.progress() or Progress(images=0, invalid=[], state={})
        if earlier.images:
            self._judge.load_state(earlier.state)
        done = saved = earlier.images
        stream = self._images.activations(done)
        keys = self._images.keys[done:]
        seconds = time.monotonic()
        with (
            progress_bar(len(keys), "evaluating", "img") as bar,
            closing(score(self._networks, stream)) as batches,
        ):
            positions = enumerate(keys, done)
            of_images: Iterator[ScoredBatch] = batches
            if self._images.clips > 1:
                of_images = averaged(batches, self._networks.columns, self._images.clips)
            for batch in of_images:
                rows = _rows(batch.keys, positions)
                predicted = self._judge.add(batch.scores, rows)
                self._files.add(batch.keys, self._judge.labels(rows), predicted)
                bar.update(int(rows[-1]) + 1 - done)
                done = int(rows[-1]) + 1
                if self._files.is_full or time.monotonic() - seconds > SECONDS_BETWEEN_SAVES:
                    self._files.write(saved)
                    invalid, state = self._invalid(earlier), self._judge.state()
                    self._folder.save(Progress(images=done, invalid=invalid, state=state))
                    saved, seconds = done, time.monotonic()
            bar.update(len(self._images.keys) - done)
        self._files.write(saved)
        return self._invalid(earlier)

    def _invalid(self, earlier: Progress) -> list[str]:
        """All invalid images so far; those at the end of the earlier progress were decoded again."""
        return list(dict.fromkeys([*earlier.invalid, *self._images.invalid]))

    def _results(self, invalid: list[str]) -> Results:
        judged = list(zip(self._judge.outputs, self._judge.figures(), strict=True))
        if not any(figures.images for _, figures in judged):
            raise LosaError(
                f"{self._images.name}: no image with a label can be read: there is nothing to judge on"
            )
        judgements = [Judgement.of(output, figures, len(invalid)) for output, figures in judged]
        return Results(
            identity=self._identity,
            data=self._images.name,
            split=self._config.eval_split,
            judgements=best_first(judgements),
            invalid_images=invalid,
        )

    def _hash(self, tensors: Mapping[str, str]) -> str:
        """Hash of all that determines the results.

        Args:
            tensors: side network -> hash of its tensors.
        """
        images = self._images
        facts: dict[str, Any] = {
            "side_networks": list(tensors.items()),
            "backbone": asdict(self._networks.backbone),
            "preprocessing": _preprocessing(self._networks.preprocessing),
            "keys": hash_keys(images.keys),
            "columns": [asdict(column) for column in images.columns],
            "labels": {column: hash_array(labels) for column, labels in images.labels.items()},
            "images": dict(images.facts),
            "predictions": self._config.predictions,
        }
        if self._config.ensemble:
            facts["ensemble"] = True
        return hashlib.sha256(canonical(facts)).hexdigest()

    def _path(self) -> Path:
        if self._config.out is not None:
            return local_path(self._config.out)
        name = f"{self._images.name}-{self._config.eval_split}-{self._identity[:10]}"
        return self._parent / re.sub(r"[^\w.-]+", "-", name)


def _preprocessing(record: Preprocessing) -> dict[str, Any]:
    """The record as it is hashed; that of images as before there were videos."""
    facts = asdict(record)
    if record.sampling is None:
        del facts["sampling"]
    return facts


def _rows(keys: Sequence[str], positions: Iterator[tuple[int, str]]) -> Int64[np.ndarray, "_"]:
    """Positions of images, given by their keys in order; those between them are invalid."""
    return np.array([next(row for row, key in positions if key == wanted) for wanted in keys], np.int64)
