"""protocol=select: chosen on one split, trained again on all, scored once on another."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig, Job
from losa.cache_format import LosaError
from losa.pipelines.selection import Candidate, as_candidate, as_final, choose, configurations, select

Command = Callable[..., Any]


@pytest.fixture
def candidate(make_summary: Any) -> Callable[..., Candidate]:
    """``candidate(accuracy, parameters, **options)``: with this accuracy, or failed if it is None."""

    def make(accuracy: float | None, parameters: int = 100, **options: Any) -> Candidate:
        config = AdaptConfig(cache="cache", protocol="select", **options)
        if accuracy is None:
            return Candidate(config, LosaError("the loss became NaN"))
        summary = make_summary(config, accuracy={"val200": accuracy}, parameters=parameters)
        return Candidate(config, summary)

    return make


def chosen_lr(*candidates: Candidate) -> float:
    return choose(candidates).candidates[0].config.lr


def test_the_mean_over_the_seeds_decides(candidate: Any) -> None:
    lucky = [candidate(0.9, lr=1e-3, seed=0), candidate(0.5, lr=1e-3, seed=1)]
    steady = [candidate(0.8, lr=1e-2, seed=0), candidate(0.8, lr=1e-2, data_seed=1)]
    assert chosen_lr(*lucky, *steady) == 1e-2
    assert choose([*lucky, *steady]).accuracy == 0.8


def test_of_equals_the_smallest_and_then_the_first_is_chosen(candidate: Any) -> None:
    assert (
        chosen_lr(candidate(0.8, 200, lr=1.0), candidate(0.8, 100, lr=2.0), candidate(0.8, 100, lr=3.0)) == 2
    )
    # 0.1 + 0.2 and 0.15 + 0.15 are not the same number.
    same = [candidate(0.1, 200, lr=1.0, seed=0), candidate(0.2, 200, lr=1.0, seed=1)]
    assert chosen_lr(*same, candidate(0.15, lr=2.0, seed=0), candidate(0.15, lr=2.0, seed=1)) == 2


def test_a_configuration_with_a_failed_seed_is_out(candidate: Any, caplog: pytest.LogCaptureFixture) -> None:
    half = [candidate(0.9, lr=1e-3, seed=0), candidate(None, lr=1e-3, seed=1)]
    assert chosen_lr(*half, candidate(0.8, lr=1e-2, seed=0)) == 1e-2
    assert "1 of 2 configurations cannot be chosen: a seed failed or was dropped" in caplog.text
    with pytest.raises(LosaError, match="nothing to choose from"):
        choose(half)


def test_a_configuration_with_a_pruned_seed_is_out(candidate: Any) -> None:
    dropped = candidate(0.9, lr=1e-3, seed=1)
    dropped = replace(dropped, outcome=replace(dropped.outcome, status="pruned"))
    half = [candidate(0.9, lr=1e-3, seed=0), dropped]
    assert chosen_lr(*half, candidate(0.8, lr=1e-2, seed=0)) == 1e-2
    with pytest.raises(LosaError, match="or was dropped by halve_at"):
        choose(half)


def test_a_member_that_was_requested_twice_counts_once(candidate: Any) -> None:
    twice = [candidate(0.5, side="linear", rank=rank) for rank in (4, 8)]
    (configuration,) = configurations([*twice, candidate(0.7, side="linear", seed=1)])
    assert [one.config.seed for one in configuration.candidates] == [0, 1]
    assert configuration.accuracy == 0.6


def test_a_candidate_is_the_member_that_is_trained_directly() -> None:
    requested = AdaptConfig(cache="cache", protocol="select")
    direct = AdaptConfig(cache="cache", train_split="train800", eval_split="val200")
    assert as_candidate(requested).member_id == direct.member_id
    assert as_candidate(direct) is direct


def jobs(folder: Path, cache: Path, **options: Any) -> list[Job]:
    configs = [
        AdaptConfig(cache=str(cache), protocol="select", rank=rank, seed=seed, **options)
        for rank in (2, 4)
        for seed in (0, 1, 2)
    ]
    return [Job(config, folder / as_candidate(config).member_name) for config in configs]


def test_two_passes_and_a_record(
    tmp_path: Path, extracted: Path, training: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    requested = jobs(tmp_path, extracted / "cache")
    (record,) = select(requested, tmp_path)
    candidates, finals = training.passes
    assert [job.folder for job in candidates] == [job.folder for job in requested]
    assert {(job.config.protocol, job.config.train_split, job.config.eval_split) for job in candidates} == {
        ("direct", "train800", "val200")
    }
    assert [(job.config.rank, job.config.seed) for job in finals] == [(4, 0), (4, 1), (4, 2)]
    assert {(job.config.protocol, job.config.train_split, job.config.eval_split) for job in finals} == {
        ("direct", "train800val200", "test")
    }
    assert [job.folder for job in finals] == [
        tmp_path / "selected" / job.config.member_name for job in finals
    ]

    assert json.loads((tmp_path / "selected.json").read_text()) == [record]
    assert record["options"]["rank"] == 4
    assert record["configurations"] == 2
    assert record["selected_on"] == {"split": "val200", "mean": 0.05}
    assert record["accuracy"] == {"test": pytest.approx({"mean": 0.05, "standard_deviation": 0.01})}
    assert [seed["accuracy"] for seed in record["seeds"]] == [{"test": 0.04}, {"test": 0.05}, {"test": 0.06}]
    assert capsys.readouterr().out == (
        "chosen: losa rank=4 lr=0.003 (val200 0.0500, mean of 3 seeds); test 0.0500 +- 0.0100 (3 seeds)\n"
    )


def test_what_is_finished_is_found_again(tmp_path: Path, extracted: Path, training: Any) -> None:
    requested = jobs(tmp_path, extracted / "cache")
    first = select(requested, tmp_path)
    assert len(training.trained) == 9
    assert select(requested[::-1], tmp_path)[0]["selected_on"] == first[0]["selected_on"]
    assert len(training.trained) == 9


def test_every_task_has_its_own_choice(
    tmp_path: Path, extracted: Path, training: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, other = extracted / "cache", extracted / "." / "cache/../cache"
    training.score = lambda config: config.rank / 10 if config.cache == str(cache) else 1 / config.rank
    records = select([*jobs(tmp_path / "a", cache), *jobs(tmp_path / "b", other)], tmp_path)
    assert [record["options"]["rank"] for record in records] == [4, 2]
    assert [len(found) for found in training.passes] == [12, 6]
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == [str(cache), str(other)]


def test_watched_images_are_trained_on_in_the_end(tmp_path: Path, extracted: Path, training: Any) -> None:
    select(jobs(tmp_path, extracted / "cache", val_split="val200", patience=2, halve_at=[3]), tmp_path)
    candidates, finals = training.passes
    assert {(job.config.val_split, job.config.patience, *job.config.halve_at) for job in candidates} == {
        ("val200", 2, 3)
    }
    assert {(job.config.val_split, job.config.patience, *job.config.halve_at) for job in finals} == {
        (None, None)
    }


def test_the_choice_is_trained_for_as_many_epochs_as_it_was_judged_by(
    tmp_path: Path, extracted: Path, training: Any, make_summary: Any
) -> None:
    def judged(config: AdaptConfig, **changes: Any) -> Any:
        best = 4 + config.seed if config.patience else None
        return make_summary(config, **changes | {"best_epoch": best, "epochs": config.trained_epochs})

    training.make_summary = judged
    (record,) = select(jobs(tmp_path, extracted / "cache", val_split="val200", patience=2), tmp_path)
    _, finals = training.passes
    assert [(job.config.epochs, job.config.stop_after) for job in finals] == [(20, 6)] * 3
    assert record["epochs"] == 6


@pytest.mark.parametrize("option", ["select_split", "val_split"])
def test_images_that_are_scored_in_the_end_are_refused_before_anything_is_trained(
    option: str, tmp_path: Path, extracted: Path, training: Any
) -> None:
    requested = jobs(tmp_path, extracted / "cache", eval_split="train800val200", **{option: "train800"})
    with pytest.raises(LosaError, match=f"images of {option}=train800 are also in eval_split=train800val200"):
        select(requested, tmp_path)
    assert not training.trained


def test_a_choice_that_cannot_be_trained(tmp_path: Path, extracted: Path, training: Any) -> None:
    requested = jobs(tmp_path, extracted / "cache")
    final = as_final(requested[-1].config)
    training.errors = {final.member_name: LosaError("the loss became NaN")}
    with pytest.raises(LosaError, match="the choice could not be trained: the loss became NaN"):
        select(requested, tmp_path)
    assert not (tmp_path / "selected.json").exists()


@pytest.mark.parametrize("stage", ["candidates", "final"])
def test_a_task_that_fails_does_not_take_the_others_choice(
    stage: str, tmp_path: Path, extracted: Path, training: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = extracted / "cache"
    bad = jobs(tmp_path / "b", cache, select_split="train800", eval_split="val200")
    failing = (
        [as_candidate(job.config) for job in bad] if stage == "candidates" else [as_final(bad[-1].config)]
    )
    training.errors = {config.member_name: LosaError("it diverged") for config in failing}
    named = "nothing to choose from" if stage == "candidates" else "could not be trained: it diverged"
    with pytest.raises(LosaError, match=f"{cache}: .*{named}"):
        select([*bad, *jobs(tmp_path / "a", cache)], tmp_path)
    (record,) = json.loads((tmp_path / "selected.json").read_text())
    assert record["selected_on"]["split"] == "val200"
    assert capsys.readouterr().out.startswith(f"{cache}: chosen: losa rank=4")


def test_missing_views_are_reported_before_anything_is_trained(
    tmp_path: Path, extracted: Path, training: Any
) -> None:
    with pytest.raises(LosaError, match=r"with splits=\[train800\] views=2, adds"):
        select(jobs(tmp_path, extracted / "cache", views=2, train_split="train800"), tmp_path)
    assert not training.trained


def test_a_sweep_ends_with_its_choice(command: Command, extracted: Path, training: Any) -> None:
    sweep = ["-m", "cache=cache", "protocol=select", "rank=0,2,4", "seed=0,1", "out=runs/select"]
    finished = command(extracted, "losa-adapt", *sweep)
    assert "error: 2 of 6 jobs failed:" in finished.stderr
    assert [len(found) for found in training.passes] == [4, 2]
    *_, line = finished.stdout.splitlines()
    assert line == (
        "chosen: losa rank=4 lr=0.003 (val200 0.0450, mean of 2 seeds); test 0.0450 +- 0.0071 (2 seeds)"
    )
    assert "by mean accuracy on val200 (select_split)" in finished.stdout
    again = command(extracted, "losa-adapt", *sweep, "hydra.sweeper.max_batch_size=1")
    assert again.stdout.splitlines()[-1] == line
    assert len(training.trained) == 6
    names = {path.name for path in (extracted / "runs/select/selected").iterdir()}
    assert names == {job.config.member_name for job in training.passes[1]}


def test_a_search_is_a_choice_among_its_values_in_one_word(
    command: Command, extracted: Path, training: Any
) -> None:
    searched = command(extracted, "losa-adapt", "cache=cache", "search=small", "out=runs/search")
    assert searched.returncode == 0, searched.stderr
    assert searched.stdout.splitlines()[-1].startswith("chosen: losa rank=8 lr=")
    tried = {(job.config.lr, job.config.dropout) for job in training.passes[0]}
    assert tried == {(lr, dropout) for lr in (1e-3, 3e-3, 1e-2) for dropout in (0.0, 0.5)}
    assert {job.config.train_split for job in training.passes[0]} == {"train800"}


def test_values_on_the_command_line_replace_those_of_a_search(
    command: Command, extracted: Path, training: Any
) -> None:
    given = ["search=small", "lr=1e-3,1e-4", "dropout=0.1", "side=linear,losa", "out=runs/given"]
    searched = command(extracted, "losa-adapt", "cache=cache", *given)
    assert searched.returncode == 0, searched.stderr
    tried = {(job.config.side, job.config.lr, job.config.dropout) for job in training.passes[0]}
    assert tried == {
        ("linear", 1e-3, 0.0),
        ("linear", 1e-4, 0.0),
        ("losa", 1e-3, 0.1),
        ("losa", 1e-4, 0.1),
    }


def test_a_search_that_does_not_exist_is_answered_with_those_that_do(
    command: Command, extracted: Path
) -> None:
    failed = command(extracted, "losa-adapt", "cache=cache", "search=smal")
    assert failed.returncode == 1
    assert "search=smal: expected one of small; did you mean 'small'?" in failed.stderr


def test_a_single_run_is_a_choice_of_one(command: Command, extracted: Path, training: Any) -> None:
    finished = command(extracted, "losa-adapt", "cache=cache", "protocol=select", "out=runs/single")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "chosen: losa rank=8 lr=0.003 (val200 0.0800, 1 seed); test 0.0800 (1 seed)\n"
    (record,) = json.loads((extracted / "runs/single/selected.json").read_text())
    assert record["accuracy"]["test"] == {"mean": 0.08, "standard_deviation": None}


def test_a_split_that_is_missing_is_told_before_anything_is_trained(
    command: Command, extracted: Path, training: Any
) -> None:
    failed = command(extracted, "losa-adapt", "-m", "cache=cache", "protocol=select", "eval_split=tset")
    assert failed.returncode == 1
    assert "the cache has no split 'tset'; it has: train800, val200" in failed.stderr
    assert not training.trained
