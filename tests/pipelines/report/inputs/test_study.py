from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.adapt import AdaptConfig, MemberSummary
from losa.cache_format import LosaError
from losa.pipelines.bench.study.ensembles import EnsembleRow
from losa.pipelines.bench.study.protocols import CANDIDATE, FIXED, PROTOCOL, SELECTED
from losa.pipelines.bench.study.rows import StudyRow, write_rows
from losa.pipelines.report.inputs.study import read_study


@pytest.fixture
def study(tmp_path: Path, make_sweep: Any, make_summary: Any) -> Path:
    """A candidate, a selected member with its folder, and one that failed."""
    chosen = AdaptConfig(cache="pets", lr=0.25)
    runs = make_sweep(tmp_path / "runs", [chosen], [0.75])
    summary: MemberSummary = make_summary(
        chosen, accuracy={"test": 0.75}, folder=f"runs/{chosen.member_name}"
    )
    assert (runs / chosen.member_name).is_dir()
    other = AdaptConfig(cache="pets", eval_split="val200", lr=0.5)
    rows = [
        StudyRow(set="pets", side="losa", variant=CANDIDATE, config=other, outcome=make_summary(other)),
        StudyRow(set="pets", side="losa", variant=SELECTED, config=chosen, outcome=summary),
        StudyRow(set="pets", side="losa", variant=CANDIDATE, config=other, outcome=LosaError("too <large>")),
    ]
    write_rows(tmp_path / "accuracy", rows, PROTOCOL)
    return tmp_path / "accuracy"


def test_members_of_a_study(study: Path) -> None:
    candidate, selected, failed = read_study(study) or []
    assert (candidate.task, candidate.kind, candidate.accuracy) == ("pets", "losa", {"val200": 0.5})
    assert candidate.options == {"protocol": "candidate", "lr": "0.5"}
    assert selected.options == {"protocol": "selected"}
    assert (selected.accuracy, selected.sites, selected.parameters) == ({"test": 0.75}, 1, 1234)
    assert selected.folder is not None
    assert (failed.status, failed.reason, failed.accuracy) == ("failed", "too <large>", {})


def test_an_ensemble_is_a_member_of_a_kind_of_its_own(tmp_path: Path, make_summary: Any) -> None:
    configs = [AdaptConfig(cache="pets", side=side, lr=0.25) for side in ("losa", "lst")]
    rows = [
        StudyRow(
            set="pets", side=str(config.side), variant=FIXED, config=config, outcome=make_summary(config)
        )
        for config in configs
    ]
    ensemble = EnsembleRow(members=rows, correct=np.array([1.0, 1.0, 1.0, 0.0]))
    write_rows(tmp_path, [*rows, ensemble], PROTOCOL)
    *_, found = read_study(tmp_path) or []
    assert (found.task, found.kind, found.accuracy) == ("pets", "losa+lst", {"test": 0.75})
    assert (found.options, found.seeds, found.parameters) == ({"protocol": "fixed"}, ("0", "0"), 2468)


def test_an_unknown_status_is_refused(study: Path) -> None:
    path = study / "results.csv"
    path.write_text(path.read_text().replace("finished", "perfect"))
    with pytest.raises(LosaError, match=r"results.csv: expected a status of finished, .* found 'perfect'"):
        read_study(study)


def test_other_folders_are_not_a_study(tmp_path: Path) -> None:
    assert read_study(tmp_path) is None
