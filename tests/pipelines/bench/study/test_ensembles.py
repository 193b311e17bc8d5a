"""Averages of side networks of a study."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.study.accuracy import AccuracyStudy
from losa.pipelines.bench.study.ensembles import EnsembleRow, ensembles_of, parse_ensemble

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losa", "expected two or more different side networks"),
        ("losa,losa", "expected two or more different side networks"),
        ("losa,lst", "--ensemble"),
        ("losa,", "--ensemble"),
    ],
)
def test_an_ensemble_of_what_is_not_there_is_refused(
    text: str, message: str, settings: Callable[..., Any]
) -> None:
    with pytest.raises(LosaError, match=message):
        AccuracyStudy(settings=settings(sides=["losa", "relay"]), ensembles=[text])
    assert parse_ensemble("linear,losa", ["linear", "losa"]) == ["linear", "losa"]


@pytest.mark.usefixtures("sizes_are_not_measured")
def test_the_accuracy_is_that_of_losa_evaluate(
    settings: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    study = AccuracyStudy(
        settings=settings(sides=["losa", "relay"]), fixed_only=True, ensembles=["losa,relay"]
    )
    rows = study.run()
    members, ensembles = rows[:-2], rows[-2:]
    assert [(row.side, row.variant, row.split, row.seeds["seed"]) for row in ensembles] == [
        ("losa+relay", "fixed", "test", 0),
        ("losa+relay", "fixed", "test", 1),
    ]
    for seed, ensemble in enumerate(ensembles):
        averaged = [row for row in members if row.seeds["seed"] == seed and row.side != "linear"]
        assert ensemble.parameters == sum(row.parameters for row in averaged)
        folders = [row.results["folder"] for row in averaged]
        options = [f"cache={averaged[0].config.cache}", "eval_split=test", "ensemble=true", f"out=e{seed}"]
        done = command(tmp_path, "losa-evaluate", *folders, *options)
        assert done.returncode == 0, done.stderr
        content = json.loads((tmp_path / f"e{seed}/results.json").read_text())
        judged = {each["side_network"]: each["top1"] for each in content["judgements"]}
        assert ensemble.accuracy == pytest.approx(judged["ensemble"])

    with (study.folder / "results.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["side"], last["seed"], last["status"], last["folder"]) == ("losa+relay", "1", "finished", "")
    assert float(last["accuracy"]) == ensembles[-1].accuracy
    assert "losa+relay: the mean of the class probabilities" in (study.folder / "table.md").read_text()


def test_an_ensemble_with_a_failed_member_has_no_scores(row: Any) -> None:
    (found,) = ensembles_of(
        [row(0.5), row(None, side="relay"), row(0.5, side="last"), row(0.9, variant="candidate")],
        ["losa", "relay"],
    )
    assert isinstance(found, EnsembleRow)
    assert (found.accuracy, found.parameters, found.reason) == (None, None, "relay: it diverged")
    assert found.results["status"] == "failed"
    assert found.results["seconds"] is None
