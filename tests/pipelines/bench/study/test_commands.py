"""losa-bench accuracy, ablations and draw-scenes, as they are typed."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import adapt_all
from losa.pipelines import different_members
from losa.pipelines.bench.study import drawn_scenes, grid

Command = Callable[..., Any]
OPTIONS = (
    "--backbone test_vit --no-pretrained --out study --workers 0 --side losa --seeds 2 --override epochs=1"
)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Members that are trained and not found again, a folder for each."""
    found: list[str] = []

    def counting(jobs: Any) -> Any:
        found.extend(job.folder.name for job in jobs if not (job.folder / "summary.json").exists())
        return adapt_all(jobs)

    monkeypatch.setattr(different_members, "adapt_all", counting)
    return found


@pytest.mark.long
def test_both_studies_of_two_sets(
    command: Command,
    tmp_path: Path,
    sets: Path,
    trained: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grid, "grid_values", lambda: {"lr": (1e-3, 1e-2)})
    accuracy = ("losa-bench", "accuracy", str(sets), *OPTIONS.split())
    done = command(tmp_path, *accuracy)
    assert done.returncode == 0, done.stderr
    for words in (
        "sites=all",
        "All members: epochs=1.",
        "dusk",
        "noon",
        "mean",
        "What was chosen:",
        "lr=0.0",
    ):
        assert words in done.stdout
    members = lines(tmp_path / "study/accuracy/results.csv")
    # For each set and each of two side networks: two seeds fixed, two candidates, two seeds of the choice.
    assert [len([one for one in members if one["set"] == name]) for name in ("dusk", "noon")] == [12, 12]
    assert members[0]["side"] == "linear"
    told_as_trained(tmp_path, members)

    ablations = ("losa-bench", "ablations", str(sets), *OPTIONS.split(), "--only", "start,views")
    before = len(trained)
    done = command(tmp_path, *ablations)
    assert done.returncode == 0, done.stderr
    changed = lines(tmp_path / "study/ablations/results.csv")
    told_as_trained(tmp_path, changed)
    variants = ["default", "start=last", "views=4"]
    assert list(dict.fromkeys(one["changed"] for one in changed)) == variants
    # The defaults are those of the first study.
    assert len(trained) - before == 2 * 2 * (len(variants) - 1)
    assert {one["member"] for one in changed if one["changed"] == "default"} <= {
        one["member"] for one in members if one["protocol"] == "fixed"
    }

    trained.clear()
    files = {path: path.read_bytes() for path in (tmp_path / "study").glob("a*/*")}
    assert {path.name for path in files} == {"results.csv", "table.md"}
    again = json.loads(command(tmp_path, *accuracy, "--json").stdout)
    assert [one["folder"] for one in again["rows"]] == [one["folder"] for one in members]
    assert command(tmp_path, *ablations).returncode == 0
    assert trained == []
    assert {path: path.read_bytes() for path in files} == files


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def told_as_trained(root: Path, members: list[dict[str, str]]) -> None:
    """Every number of the file is that of the member's summary."""
    for one in members:
        summary = json.loads((root / one["folder"] / "summary.json").read_text())
        assert float(one["accuracy"]) == summary["accuracy"][one["split"]]
        for name in ("parameters", "head_parameters", "train_loss", "epochs", "seconds"):
            assert float(one[name]) == summary[name]
        assert (one["side"], one["member"]) == (summary["side"], summary["member"])
        assert int(one["seed"]) == summary["options"]["seed"]
        assert int(one["data_seed"]) == summary["options"]["data_seed"]


def test_a_validated_study_never_scores_the_test_split(command: Command, tmp_path: Path, sets: Path) -> None:
    done = command(
        tmp_path, "losa-bench", "accuracy", str(sets), *OPTIONS.split(), "--validate", "--set", "noon"
    )
    assert done.returncode == 0, done.stderr
    assert "Trained on train800; accuracy on val200" in done.stdout
    members = lines(tmp_path / "study/accuracy-validate/results.csv")
    assert {(one["set"], one["protocol"], one["split"]) for one in members} == {("noon", "fixed", "val200")}
    for summary in tmp_path.glob("study/runs/*/summary.json"):
        content = json.loads(summary.read_text())
        assert set(content["accuracy"]) == {"val200"}
        assert content["options"]["train_split"] == "train800"


def test_failed_members_are_told_at_the_end(
    command: Command, tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(jobs: Any) -> Any:
        outcomes = adapt_all(jobs)
        return [
            ValueError("no luck") if job.config.seed else one for job, one in zip(jobs, outcomes, strict=True)
        ]

    monkeypatch.setattr(different_members, "adapt_all", failing)
    done = command(
        tmp_path, "losa-bench", "ablations", str(sets), *OPTIONS.split(), "--only", "start", "--set", "dusk"
    )
    assert done.returncode == 1
    assert "2 of 4 members failed, the first of them (dusk, losa, default): no luck" in done.stderr
    assert "results.csv has the reason of each" in done.stderr
    assert "last" in done.stdout
    failed = [one for one in lines(tmp_path / "study/ablations/results.csv") if one["status"] == "failed"]
    assert [(one["seed"], one["accuracy"], one["reason"]) for one in failed] == [("1", "", "no luck")] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--side lossa", "--side lossa: expected one of losa, .*; did you mean 'losa'"),
        ("--seeds 0", "--seeds 0: expected at least 1"),
        ("--override lr=fast", "lr=fast: "),
        ("--override rnk=4", "no option 'rnk'; did you mean 'rank'"),
        ("--override seed=3", "this option belongs to the study; give it as --seeds"),
        ("--override engine.kind=ray", "--override engine.kind=...: a study sets this option itself"),
        ("--override epochs", "expected name=value, found 'epochs'"),
        ("--sites 0.5", "sites="),
        ("--set dawn", "--set dawn: no such data set; found dusk, noon"),
        ("--choice-seeds 0", "--choice-seeds 0: expected at least 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    command: Command, tmp_path: Path, sets: Path, arguments: str, message: str
) -> None:
    options = "--backbone test_vit --no-pretrained --out study"
    done = command(tmp_path, "losa-bench", "accuracy", str(sets), *options.split(), *arguments.split())
    assert done.returncode == 1
    assert message.partition(".*")[0] in done.stderr
    assert message.rpartition(".*")[2] in done.stderr
    assert not any(tmp_path.iterdir())


def test_scenes_are_drawn(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_scenes, "SCENES", {"train": 2, "val": 1, "test": 1})
    assert command(tmp_path, "losa-bench", "draw-scenes", "scenes").returncode == 0
    assert len(list((tmp_path / "scenes/images").iterdir())) == 4
    again = command(tmp_path, "losa-bench", "draw-scenes", "scenes")
    assert again.returncode == 1
    assert "scenes: expected a new or an empty folder" in again.stderr
