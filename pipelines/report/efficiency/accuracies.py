"""Whole trainings of what was measured, for its accuracy."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from losa.adapt import AdaptConfig, Job, adapt_all
from losa.adapt.members.member_folder import member_folder
from losa.cache_format import LosaError
from losa.cache_format.common.suggestions import nearest
from losa.extract import FrozenBackbone, load_backbone
from losa.extract.extraction_tasks import computing_threads
from losa.pipelines.bench.live.data import LiveData
from losa.pipelines.bench.live.methods import RANKED, Method
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.bench.live.trainings import Configuration, Trainings
from losa.pipelines.bench.matrix_rate import Dtype
from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.extracting import extract_splits
from losa.pipelines.report.efficiency.measurements import Measurement
from losa.pipelines.report.efficiency.names import RUNS

LRS: Mapping[str, float] = {"full": 1e-4}
"""Learning rates of methods for which that of losa-adapt is far too high."""
_DEFAULT_LR = AdaptConfig(cache="any").lr
_NOT_TRAINED = "%s has no accuracy: %s"
_log = logging.getLogger(__name__)


def train_for_accuracy(
    measurements: Sequence[Measurement], comparison: EfficiencyComparison, lrs: Mapping[str, float], test: str
) -> dict[str, float]:
    """Train everything that was measured through all epochs, and score it once; finished trainings are found.

    Gradient checkpointing makes no other network, so methods are trained without it.

    Args:
        measurements: what `EfficiencyComparison.run` returned. What does not fit into memory, and what
            failed, is left out.
        comparison: the options.
        lrs: side network or method -> its learning rate, if not that of losa-adapt or in `LRS`.
        test: the list to score on.

    Returns:
        Side network or method -> accuracy on ``test``, a fraction; without those whose training failed, which
        are logged.

    Raises:
        LosaError: the images cannot be read, or lists share some.
    """
    measured = {
        one.setting.method: one.setting
        for one in measurements
        if one.note is None and not one.setting.checkpointing
    }
    if not measured:
        return {}
    backbone = load_backbone(comparison.settings[0].backbone_config)
    data = _data(comparison, test, backbone)
    rates = {name: lrs.get(name, LRS.get(name, _DEFAULT_LR)) for name in measured}
    sides = [name for name, setting in measured.items() if setting.kind == "cache"]
    methods = [name for name, setting in measured.items() if setting.kind == "live"]
    found: dict[str, float] = {}
    with computing_threads(comparison.threads or "auto"):
        if sides:
            found |= _side_networks(comparison, {side: rates[side] for side in sides}, test)
        if methods:
            found |= _live(comparison, {method: rates[method] for method in methods}, test, data, backbone)
    return found


def refuse_missing_list(comparison: EfficiencyComparison, test: str) -> None:
    """Raise a LosaError if there is no list to score on, or it shares images with the training list.

    Before anything is measured, which takes its time.
    """
    _data(comparison, test, load_backbone(comparison.settings[0].backbone_config))


def parse_rates(texts: Sequence[str], comparison: EfficiencyComparison) -> dict[str, float]:
    """Learning rates that are given as ``name=rate``.

    Raises:
        LosaError: a text is something else, or names nothing that is measured.
    """
    known = [*comparison.sides, *comparison.methods]
    rates = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in known:
            raise LosaError(
                f"--lr {text}: expected one of {', '.join(known)}, as in losa=1e-3{nearest(name, known)}"
            )
        try:
            rates[name] = float(number)
        except ValueError:
            rates[name] = 0.0
        if not rates[name] > 0:
            raise LosaError(f"--lr {text}: expected a number above 0, as in {name}=1e-3")
    return rates


def _data(comparison: EfficiencyComparison, test: str, backbone: FrozenBackbone) -> LiveData:
    data = LiveData(comparison.folder, [comparison.train_split, test], backbone.preprocessing)
    data.refuse_shared_images(test, [comparison.train_split])
    return data


def _side_networks(
    comparison: EfficiencyComparison, rates: Mapping[str, float], test: str
) -> dict[str, float]:
    extract_splits(comparison.settings[0], [comparison.train_split, test])
    folder = Path(comparison.out) / RUNS
    configs = [
        AdaptConfig(
            cache=str(comparison.cache),
            side=side,
            rank=comparison.rank,
            train_split=comparison.train_split,
            eval_split=test,
            epochs=comparison.epochs,
            batch_size=comparison.batch,
            lr=lr,
            dtype=cast(Dtype, comparison.dtype),
            device=comparison.resolved_device,
            threads=comparison.threads or "auto",
        )
        for side, lr in rates.items()
    ]
    found = {}
    outcomes = adapt_all([Job(config, member_folder(folder, config)) for config in configs])
    for config, outcome in zip(configs, outcomes, strict=True):
        if isinstance(outcome, Exception):
            _log.warning(_NOT_TRAINED, config.side, outcome)
        else:
            found[config.side] = outcome.accuracy[test]
    return found


def _live(
    comparison: EfficiencyComparison,
    rates: Mapping[str, float],
    test: str,
    data: LiveData,
    backbone: FrozenBackbone,
) -> dict[str, float]:
    trainings = Trainings(
        name=comparison.folder.name,
        data=data,
        backbone=backbone,
        targets=comparison.targets,
        options=comparison.training,
        device=comparison.resolved_device,
        seconds=float("inf"),
        records=TrainingRecords(Path(comparison.out) / "live"),
    )
    found = {}
    for method, lr in rates.items():
        configuration = Configuration(
            method=cast(Method, method),
            rank=comparison.rank if method in RANKED else None,
            lr=lr,
            seed=0,
            train_split=comparison.train_split,
            scored_split=test,
        )
        try:
            accuracy = trainings.result(configuration)["accuracy"]
        except LosaError as error:
            _log.warning(_NOT_TRAINED, method, error)
            continue
        if accuracy is not None:  # which else was logged
            found[method] = accuracy
    return found
