import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import load_side_network

Command = Callable[..., Any]

QUICK = ["cache=cache", "epochs=2", "batch_size=20", "eval_split=[val200,test]"]


def test_a_run_writes_what_it_promises(command: Command, extracted: Path) -> None:
    finished = command(extracted, "losa-adapt", "side=losa", "rank=4", "out=runs/one", *QUICK)
    assert finished.returncode == 0, finished.stderr
    (folder,) = (extracted / "runs/one").iterdir()
    assert folder.name.startswith("losa-r4-lr0.003-seed0-")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["accuracy"].keys() == {"val200", "test"}
    assert all(0 <= fraction <= 1 for fraction in summary["accuracy"].values())
    assert summary["folder"] == folder.relative_to(extracted).as_posix()
    assert json.loads((folder / "config.json").read_text())["rank"] == 4
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert load_side_network(folder).parameter_count() == summary["parameters"]
    assert f"test accuracy {summary['accuracy']['test']:.4f}" in finished.stderr


def test_a_multirun_ends_in_a_table_and_is_not_repeated(command: Command, extracted: Path) -> None:
    sweep = ["-m", "side=linear,losa,last", "rank=4,8", "out=runs/sweep", *QUICK]
    first = command(extracted, "losa-adapt", *sweep)
    assert first.returncode == 0, first.stderr
    kinds = re.findall(r"│ (losa|last|linear) +│ +(\d*) │", first.stdout)
    assert sorted(kinds) == [("last", "4"), ("last", "8"), ("linear", ""), ("losa", "4"), ("losa", "8")]
    with (extracted / "runs/sweep/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["accuracy.val200"]) for row in rows]
    assert len(rows) == 5
    assert scores == sorted(scores, reverse=True)

    files = {path: path.stat().st_mtime_ns for path in extracted.glob("runs/sweep/*/summary.json")}
    again = command(extracted, "losa-adapt", *sweep)
    assert again.returncode == 0
    # The linear probe counts twice: its second rank is the same member even in the first sweep.
    assert again.stderr.count("is finished already") == 6
    assert files == {path: path.stat().st_mtime_ns for path in extracted.glob("runs/sweep/*/summary.json")}


def test_a_failing_job_does_not_take_the_others_along(command: Command, extracted: Path) -> None:
    failed = command(
        extracted, "losa-adapt", "-m", "side=last", "rank=6,8", "heads=4", "out=runs/half", *QUICK
    )
    assert failed.returncode == 1
    assert "error: rank=6: side=last needs a multiple of heads=4" in failed.stderr
    assert [path.parent.name[:7] for path in extracted.glob("runs/half/*/summary.json")] == ["last-r8"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank=4"], "cache=... is missing"),
        (["cache=nowhere"], "nowhere is not a cache: it has no manifest.json"),
        (["cache=cache", "rnk=4"], "there is no option 'rnk'; did you mean 'rank'?"),
        (["cache=cache", "side=lsoa"], "side=lsoa: expected one of losa, last, linear; did you mean 'losa'?"),
        (["cache=cache", "lr=-1"], "lr=-1: input should be greater than 0"),
        (["cache=cache", "train_split=trian"], "the cache has no split 'trian'; it has: train800, val200"),
        (
            ["cache=cache", "sites=[block.00]"],
            "there is no site 'block.00' here; there are block.02",
        ),
        (["cache=cache", "label=colour"], "has no label column 'colour'; it has: label"),
        (["cache=cache", "device=cuda:99"], "device=cuda:99: torch"),
        (["cache=cache", "norm=none", "lr=1e30", "epochs=3"], "the loss became NaN or infinite in epoch"),
    ],
)
def test_the_wrong_thing_gets_a_clear_answer(
    command: Command, extracted: Path, arguments: list[str], message: str
) -> None:
    failed = command(extracted, "losa-adapt", "out=runs/wrong", *arguments)
    assert failed.returncode == 1
    assert re.search(r"^error: ", failed.stderr, re.MULTILINE)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
