import csv
import errno
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
    assert {path.name for path in folder.iterdir()} == {
        ".writer.lock",
        "config.json",
        "confusion.json",
        "metrics.jsonl",
        "side_network.json",
        "side_network.safetensors",
        "summary.json",
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["accuracy"].keys() == {"val200", "test"}
    assert all(0 <= fraction <= 1 for fraction in summary["accuracy"].values())
    assert summary["folder"] == folder.relative_to(extracted).as_posix()
    assert json.loads((folder / "config.json").read_text())["rank"] == 4
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert load_side_network(folder).network.parameter_count() == summary["parameters"]
    assert f"test accuracy {summary['accuracy']['test']:.4f}" in finished.stderr


def test_a_member_need_not_be_scored(command: Command, extracted: Path) -> None:
    quick = ["cache=cache", "epochs=1", "side=linear", "out=runs/unscored", "eval_split=[]"]
    finished = command(extracted, "losa-adapt", *quick)
    assert finished.returncode == 0, finished.stderr
    assert ": not scored, 650 parameters" in finished.stderr
    (folder,) = (extracted / "runs/unscored").iterdir()
    assert json.loads((folder / "summary.json").read_text())["accuracy"] == {}
    choosing = command(extracted, "losa-adapt", *quick, "protocol=select")
    assert choosing.returncode == 0, choosing.stderr
    assert ", 1 seed); not scored (1 seed)" in choosing.stdout


def test_a_multirun_ends_in_a_table_and_is_not_repeated(command: Command, extracted: Path) -> None:
    sweep = ["-m", "side=linear,losa,last", "rank=4,8", "out=runs/sweep", *QUICK]
    first = command(extracted, "losa-adapt", *sweep)
    assert first.returncode == 0, first.stderr
    kinds = re.findall(r"^(losa|last|linear) +(\d?) +0.003 ", first.stdout, re.MULTILINE)
    assert sorted(kinds) == [("last", "4"), ("last", "8"), ("linear", ""), ("losa", "4"), ("losa", "8")]
    with (extracted / "runs/sweep/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["accuracy.val200"]) for row in rows]
    assert len(rows) == 5
    assert scores == sorted(scores, reverse=True)

    files = {path: path.stat().st_mtime_ns for path in extracted.glob("runs/sweep/*/summary.json")}
    again = command(extracted, "losa-adapt", *sweep)
    assert again.returncode == 0
    # The linear probe counts once: its second rank is the same member even in the first sweep.
    assert again.stderr == "all 5 members are finished already (overwrite=true trains them again)\n"
    assert files == {path: path.stat().st_mtime_ns for path in extracted.glob("runs/sweep/*/summary.json")}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rank=6,8", "rank=6: side=last needs a multiple of heads=4"),
        ("lr=-1,1e-3", "lr=-1: input should be greater than 0"),
        ("eval_split=tset,test", "the cache has no split 'tset'; it has: train800, val200"),
        ("norm=batch,layer", "norm=batch: expected one of layer, frozen, none"),
    ],
)
def test_a_failing_job_does_not_take_the_others_along(
    command: Command, extracted: Path, wrong: str, message: str
) -> None:
    option, values = wrong.split("=")
    out = f"runs/half/{option}"
    options = {"epochs": "1", "cache": "cache", "side": "last", "rank": "8", "heads": "4", option: values}
    swept = [f"{name}={value}" for name, value in options.items()]
    failed = command(extracted, "losa-adapt", "-m", *swept, "seed=0,1", f"out={out}")
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    logged = [line for line in lines if line.startswith("failed: ")]
    (told,) = logged
    assert f"{option}={values.split(',')[0]} " in told
    assert message in told
    ending = lines[lines.index("error: 2 of 4 jobs failed:") + 1 :]
    assert ending == [told.replace("failed: ", "  ").replace(f" out={out}: ", f" out={out} (and 1 more): ")]
    assert "Traceback" not in failed.stderr

    left = {path.name for path in (extracted / out).iterdir()}
    folders = {name for name in left if name.startswith("last-r8-")}
    assert len(folders) == 2
    assert left - folders == {"results.csv", "multirun.yaml"}
    lines = [line for line in failed.stdout.splitlines() if line.startswith("last ")]
    assert [bool(re.search(r"failed: \S", line)) for line in lines] == [False, True]
    with (extracted / out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["folder"]).name for row in rows if row["status"] == "finished"} == folders
    assert all(message in row["reason"] for row in rows if row["status"] == "failed")


def test_a_pool_is_named_before_its_member_is(command: Command, extracted: Path, training: Any) -> None:
    sweep = ["-m", "cache=cache", "pool=auto,cls,mean", "rank=8,0", "out=runs/pools"]
    finished = command(extracted, "losa-adapt", *sweep)
    (jobs,) = training.passes
    assert [job.config.pool for job in jobs] == ["cls", "cls", "mean"]
    assert len(training.trained) == 2
    with (extracted / "runs/pools/results.csv").open() as file:
        assert [row["pool"] for row in csv.DictReader(file)][:2] == ["cls", "mean"]
    assert not re.search(r"^\S+ .* auto ", finished.stdout, re.MULTILINE)


def test_a_multirun_of_failures_only(command: Command, extracted: Path) -> None:
    failed = command(extracted, "losa-adapt", "-m", "rank=0,-1", "out=runs/none", "cache=cache")
    assert failed.returncode == 1
    assert "error: 2 of 2 jobs failed:" in failed.stderr
    assert {path.name for path in (extracted / "runs/none").iterdir()} == {"multirun.yaml", "results.csv"}


def test_members_with_different_eval_splits_share_a_table(command: Command, extracted: Path) -> None:
    sweep = ["cache=cache", "side=linear", "epochs=1", "eval_split=val200,test", "out=runs/splits"]
    finished = command(extracted, "losa-adapt", "-m", *sweep)
    assert finished.returncode == 0, finished.stderr
    with (extracted / "runs/splits/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [[bool(row["accuracy.val200"]), bool(row["accuracy.test"])] for row in rows] == [
        [True, False],
        [False, True],
    ]


def test_paths_mean_the_same_wherever_hydra_goes(command: Command, extracted: Path) -> None:
    options = ["side=linear", "out=runs/chdir", *QUICK]
    first = command(extracted, "losa-adapt", *options, "hydra.job.chdir=true")
    assert first.returncode == 0, first.stderr
    (summary,) = (extracted / "runs/chdir").glob("*/summary.json")
    assert json.loads(summary.read_text())["folder"] == summary.parent.relative_to(extracted).as_posix()
    again = command(extracted, "losa-adapt", *options)
    assert "is finished already" in again.stderr


def raising(error: BaseException) -> Callable[..., Any]:
    def adapt(*arguments: Any, **options: Any) -> Any:
        raise error

    return adapt


def test_ctrl_c(command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losa.pipelines.tracked_training.adapt_all", raising(KeyboardInterrupt()))
    for mode in ([], ["-m"]):
        stopped = command(extracted, "losa-adapt", *mode, "out=runs/stopped", *QUICK)
        assert stopped.returncode == 130
        assert stopped.stderr.endswith("interrupted: run the same command again to resume\n")


def test_an_error_of_the_machine(
    command: Command, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    failed = command(extracted, "losa-adapt", f"out={tmp_path}/file", *QUICK)
    assert failed.returncode == 1
    assert re.fullmatch(rf"error: Not a directory: {tmp_path}/file/losa-.*\n", failed.stderr)

    long = tmp_path / ("n" * 300)
    failed = command(extracted, "losa-adapt", f"out={long}", *QUICK)
    assert failed.returncode == 1
    assert re.fullmatch(rf"error: File name too long: {long}/losa-.*\n", failed.stderr)

    full = raising(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("losa.pipelines.tracked_training.adapt_all", full)
    failed = command(extracted, "losa-adapt", "out=runs/full", *QUICK)
    assert (failed.returncode, failed.stderr) == (1, "error: No space left on device\n")

    monkeypatch.setattr(
        "losa.pipelines.tracked_training.adapt_all",
        raising(PermissionError(13, "Permission denied", "some/file")),
    )
    failed = command(extracted, "losa-adapt", "out=runs/denied", *QUICK)
    assert (failed.returncode, failed.stderr) == (1, "error: Permission denied: some/file\n")
    basic = ["-m", "hydra/launcher=basic", "seed=0,1"]
    failed = command(extracted, "losa-adapt", *basic, "out=runs/denied", *QUICK)
    assert failed.returncode == 1
    assert "error: 2 of 2 jobs failed:" in failed.stderr

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(PermissionError):
        command(extracted, "losa-adapt", "out=runs/denied", *QUICK)


def test_a_bug_keeps_its_traceback(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bug in (ValueError("ours"), OSError("without a file")):
        monkeypatch.setattr("losa.pipelines.tracked_training.adapt_all", raising(bug))
        with pytest.raises(type(bug), match=str(bug)):
            command(extracted, "losa-adapt", "out=runs/bug", *QUICK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank=4"], "cache=... is missing"),
        (["cache=nowhere"], "nowhere is not a cache: there is no such folder"),
        (["cache=cache", "rnk=4"], "there is no option 'rnk'; did you mean 'rank'?"),
        (
            ["cache=cache", "side=lsoa"],
            "side=lsoa: expected one of losa, last, relay, lst, linear, mlp, attentive; did you mean 'losa'?",
        ),
        (["cache=cache", "lr=-1"], "lr=-1: input should be greater than 0"),
        (["cache=cache", "train_split=trian"], "the cache has no split 'trian'; it has: train800, val200"),
        (
            ["cache=cache", "sites=[block.00]"],
            "there is no site 'block.00' here; there are block.02",
        ),
        (["cache=cache", "label=colour"], "has no label column 'colour'; it has: label"),
        (["cache=cache", "device=cuda:99"], "device=cuda:99: torch"),
        (["cache=cache", "hydra/launcher=joblib"], "Available options in 'hydra/launcher':"),
        (["cache=cache", "hydra/job_logging=plian"], "Available options in 'hydra/job_logging':"),
        (["cache=cache", "hydra.runn=1"], "Could not override 'hydra.runn'"),
    ],
)
def test_the_wrong_thing_gets_a_clear_answer(
    command: Command, extracted: Path, arguments: list[str], message: str
) -> None:
    failed = command(extracted, "losa-adapt", "out=runs/wrong", *arguments)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (extracted / "runs/wrong").exists()


def test_divergence_gets_a_clear_answer(command: Command, extracted: Path) -> None:
    options = ["cache=cache", "norm=none", "lr=1e30", "epochs=3", "out=runs/diverged"]
    failed = command(extracted, "losa-adapt", *options)
    assert failed.returncode == 1
    assert re.search(
        r"^error: losa-r8-\S+: the loss became NaN or infinite in epoch", failed.stderr, re.MULTILINE
    )
    assert not list(extracted.glob("runs/diverged/*/summary.json"))


def test_results_that_cannot_be_written_are_an_error(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra makes warnings of the errors of callbacks."""

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/full/results.csv")

    monkeypatch.setattr("losa.pipelines.results.write_results", fail)
    sweep = ["-m", "cache=cache", "side=linear", "seed=0,1", "epochs=1", "out=runs/full"]
    failed = command(extracted, "losa-adapt", *sweep)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "error: No space left on device: runs/full/results.csv"
    assert "Callback" not in failed.stderr
