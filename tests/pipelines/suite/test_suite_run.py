"""Whole runs: errors of single tasks, a second run, an interruption, and what is never looked at."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from losa.cache_format import Cache, LosaError
from losa.pipelines.suite import task_run
from losa.pipelines.suite.suite_run import SuiteRun
from losa.pipelines.suite.vtab1k import VTAB1K

Command = Callable[..., Any]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[Path, int]:
    """Files that are written once, with their times."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("summary.json")}


def test_an_error_of_a_task_is_named_and_the_others_go_on(
    command: Command, tmp_path: Path, draw_task: Any, tiny: list[str]
) -> None:
    root = tmp_path / "root"
    for name in ("cifar", "svhn", "eurosat", "kitti"):
        draw_task(root / name)
    (root / "cifar/val200.txt").unlink()
    (root / "eurosat/images/test/1.png").write_bytes(b"no image")
    draw_task(root / "dmlab", test=(0, 6))
    finished = command(tmp_path, "losa-vtab1k", "root=root", "out=out", *tiny)
    assert finished.returncode == 1
    assert "error: 3 of 5 tasks failed, or a part of them:" in finished.stderr
    for message in (
        "cifar: val200.txt missing: expected the lists train800.txt",
        "eurosat: ",
        "dmlab: ",
        "images/test/1.png",
        "the highest label is 6, but dataset.num_classes=6",
    ):
        assert message in finished.stderr
    assert "Traceback" not in finished.stderr
    assert [(row["task"], row["seed"]) for row in rows(tmp_path / "out")] == [
        (name, seed) for name in ("svhn", "kitti") for seed in "01"
    ]
    content = json.loads((tmp_path / "out/results.json").read_text())
    assert {task["task"] for task in content["tasks"] if task["failures"]} == {"cifar", "eurosat", "dmlab"}
    assert "cannot be run: cifar: val200.txt missing" in " ".join(finished.stdout.split())


def test_a_plan_writes_nothing(command: Command, tmp_path: Path, draw_task: Any, tiny: list[str]) -> None:
    draw_task(tmp_path / "root/svhn")
    draw_task(tmp_path / "root/signs")
    idle = ["heads=2,4", "sweep.momentum=0.5"]
    finished = command(tmp_path, "losa-vtab1k", "root=root", "out=out", "plan=true", *tiny, *idle)
    assert finished.returncode == 0, finished.stderr
    assert "heads=2,4 has no effect with side=linear\n" in finished.stderr
    assert "momentum=0.5 has no effect with optimizer=adamw\n" in finished.stderr
    assert "rank" not in finished.stderr, "a default was not typed"
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    told = " ".join(finished.stdout.split())
    assert "members: 1 candidates + 2 final ones" in told
    assert "caches: 6 images to extract" in told
    assert "missing of VTAB-1K: caltech101, cifar" in told
    assert "other folders with lists, which tasks=[...] takes: signs" in told


def test_the_test_split_is_scored_once_after_the_choice_and_cached_nowhere(
    tmp_path: Path, draw_task: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_task(tmp_path / "root/svhn")
    judged, threads = [], []

    def watching(places: Any, config: Any, parent: Path) -> Any:
        judged.append(list(places))
        threads.append(torch.get_num_threads())
        return evaluate(places, config, parent)

    evaluate = task_run.evaluate
    monkeypatch.setattr(task_run, "evaluate", watching)
    SuiteRun(VTAB1K, options("side=linear,losa", "rank=4", "lr=1e-3,1e-2", "threads=3")).run()
    out = tmp_path / "out"
    cache = Cache(out / "caches/svhn")
    assert {split.name for split in cache.manifest.splits} == {"train800val200", "train800", "val200"}
    assert sum(segment.images for segment in cache.manifest.segments) == 6
    configs = {path.parent: json.loads(path.read_text()) for path in out.glob("runs/svhn/**/config.json")}
    candidates = {folder for folder in configs if folder.parent.name == "svhn"}
    finals = {folder for folder in configs if folder.parent.name == "selected"}
    assert (len(candidates), len(finals)) == (4, 4)
    assert {(configs[one]["train_split"], configs[one]["eval_split"]) for one in candidates} == {
        ("train800", "val200")
    }
    assert {configs[one]["train_split"] for one in finals} == {"train800val200"}
    assert [configs[one]["eval_split"] for one in finals] == [[]] * 4
    ((*places,),) = judged
    assert threads == [3]
    assert set(map(Path, places)) == finals
    assert {Path(row["folder"]) for row in rows(out)} == finals


def test_an_interrupted_run_goes_on_and_a_finished_one_does_nothing(
    tmp_path: Path, draw_task: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("svhn", "kitti"):
        draw_task(tmp_path / "root" / name)
    out = tmp_path / "out"

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(task_run, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            SuiteRun(VTAB1K, options()).run()
    trained = files(out)
    assert len(trained) == 3
    assert not (out / "results.csv").exists()
    SuiteRun(VTAB1K, options()).run()
    done = files(out)
    assert len(done) == 6
    assert trained.items() <= done.items()
    first = {name: (out / name).read_bytes() for name in ("results.csv", "results.json", "table.md")}
    SuiteRun(VTAB1K, options()).run()
    assert files(out) == done
    assert {name: (out / name).read_bytes() for name in first} == first


def test_a_line_without_a_choice_fails_alone(tmp_path: Path, draw_task: Any, options: Any) -> None:
    draw_task(tmp_path / "root/svhn")
    # The rank has to be a multiple of the heads.
    with pytest.raises(LosaError, match="1 of 1 tasks failed, or a part of them:\n  svhn: last: "):
        SuiteRun(VTAB1K, options("side=linear,last", "rank=3")).run()
    assert {row["line"] for row in rows(tmp_path / "out")} == {"linear"}


def test_a_line_that_failed_is_told_although_the_task_cannot_be_scored(
    tmp_path: Path, draw_task: Any, options: Any
) -> None:
    draw_task(tmp_path / "root/svhn")
    (tmp_path / "root/svhn/images/test/1.png").write_bytes(b"no image")
    with pytest.raises(LosaError, match=r"(?s)svhn: last: .*\n  svhn: cannot read an image: images/test/1"):
        SuiteRun(VTAB1K, options("side=linear,last", "rank=3")).run()


def test_the_choice_is_told_with_the_options_that_it_was_made_by(
    tmp_path: Path, draw_task: Any, options: Any
) -> None:
    """The final members have neither a validation split nor patience."""
    draw_task(tmp_path / "root/svhn")
    SuiteRun(VTAB1K, options("val_split=val200", "patience=2,3")).run()
    out = tmp_path / "out"
    assert {(row["val_split"], row["patience"]) for row in rows(out)} == {("val200", "2")}
    assert "| svhn | linear | patience=2 |" in (out / "table.md").read_text()


def test_a_backbone_that_cannot_be_used_ends_the_run(tmp_path: Path, draw_task: Any, options: Any) -> None:
    draw_task(tmp_path / "root/svhn")
    with pytest.raises(LosaError, match=r"timm .* has no such model"):
        SuiteRun(VTAB1K, options("backbone.name=test_vti")).run()
    assert not (tmp_path / "out").exists()
