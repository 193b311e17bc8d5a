"""An interrupted sweep resumes from its checkpoints and ends as if nothing had happened."""

import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from losa.adapt import MemberSummary, Trainer, load_side_network
from losa.adapt.members.member_files import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    SUMMARY_NAME,
    Checkpoint,
    MemberFiles,
)
from losa.adapt.training.epoch_inputs import StepInputs
from losa.adapt.training.optimizers import SGD
from losa.adapt.training.step_computation import StepComputation
from losa.cache_format import LosaError
from losa.cache_format.storage.lock import LOCK_NAME
from losa.pipelines.ending import ending

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

EPOCHS = 5
TIMES = {"seconds", "train_seconds", "pass", "folder", "options"}


class Killed(BaseException):
    """The end of a process that cannot save anything any more."""


@pytest.fixture(scope="module")
def toy_cache_folder(written_toy_cache: Path) -> Path:
    """One cache for all tests, so that one sweep without interruption can be compared with several."""
    return written_toy_cache


@pytest.fixture(scope="module")
def _wholes() -> dict[str, list[Any]]:
    return {}


@pytest.fixture
def uninterrupted(
    sweep: Any, _wholes: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[Any]]:
    """``uninterrupted(options, ...)``: the outcomes without an interruption, trained once for all tests."""

    def run(*options: dict[str, Any]) -> list[Any]:
        key = repr(options)
        if key not in _wholes:
            _wholes[key] = sweep(*options, folder=tmp_path_factory.mktemp("whole"))
        return _wholes[key]

    return run


@pytest.fixture
def interrupted(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``interrupted(epoch, options, ...)``: the same sweep, ended before an epoch."""

    def run(epoch: int, *options: dict[str, Any], error: type[BaseException] = Killed) -> None:
        whole = Trainer.epoch

        def stopping(trainer: Trainer, number: int, *arguments: Any) -> Any:
            if number == epoch:
                raise error
            return whole(trainer, number, *arguments)

        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(Trainer, "epoch", stopping)
            sweep(*options)

    return run


@pytest.fixture
def interrupted_at(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``interrupted_at(step, options, ...)``: the same sweep, ended before a step of the whole training."""

    def run(step: int, *options: dict[str, Any], error: type[BaseException] = Killed) -> None:
        whole = Trainer._gradients

        def stopping(trainer: Trainer, batch: Any, inputs: StepInputs) -> Any:
            if inputs.step == step:
                raise error
            return whole(trainer, batch, inputs)

        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(Trainer, "_gradients", stopping)
            sweep(*options)

    return run


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that grows by ``(epoch, members)`` with every epoch that is trained."""
    found: list[tuple[int, int]] = []
    whole = Trainer.epoch

    def counting(trainer: Trainer, number: int, *arguments: Any) -> Any:
        found.append((number, sum(len(group.numbers) for group in trainer.groups)))
        return whole(trainer, number, *arguments)

    monkeypatch.setattr(Trainer, "epoch", counting)
    return found


def option(**options: Any) -> dict[str, Any]:
    return {"epochs": EPOCHS, "checkpoint_seconds": 0.0} | options


MEMBERS = [
    option(seed=1, dropout=0.3),
    option(seed=2),
    option(seed=2, dropout=0.3, probe_share=0.5),
    option(side="last", optimizer="sgd", norm="frozen"),
    option(side="linear", lr=0.1),
]


def exactly_the_same(first: list[MemberSummary], second: list[MemberSummary]) -> None:
    """Bit for bit, but for the time they took."""
    for mine, theirs in zip(first, second, strict=True):
        assert {k: v for k, v in mine.to_json().items() if k not in TIMES} == {
            k: v for k, v in theirs.to_json().items() if k not in TIMES
        }
        folders = [Path(summary.folder) for summary in (mine, theirs)]
        networks = [load_side_network(folder).network.state_dict() for folder in folders]
        for name, value in networks[0].items():
            assert torch.equal(value, networks[1][name]), name
        lines = [metrics(folder) for folder in folders]
        assert lines[0] == lines[1]
        assert [line["epoch"] for line in lines[0]] == list(range(mine.epochs))
        names = [{path.name for path in folder.iterdir()} for folder in folders]
        assert names[0] == names[1]
        assert CHECKPOINT_NAME not in names[0]


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("epoch", [1, 4])
def test_ends_as_if_nothing_had_happened(
    epoch: int,
    sweep: Any,
    uninterrupted: Any,
    interrupted: Any,
    epochs: list[tuple[int, int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    whole = uninterrupted(*MEMBERS)
    interrupted(epoch, *MEMBERS)
    epochs.clear()
    found = sweep(*MEMBERS)
    assert epochs == [(number, len(MEMBERS)) for number in range(epoch, EPOCHS)]
    assert f"{len(MEMBERS)} members resume after epoch {epoch}" in caplog.messages
    exactly_the_same(found, whole)


STEPS = 3
"""Steps of an epoch of the toy cache."""


@pytest.mark.parametrize(
    ("step", "seconds", "error"), [(1, 0.0, Killed), (4, 1000.0, KeyboardInterrupt), (5, 1000.0, SystemExit)]
)
def test_within_an_epoch(
    step: int,
    seconds: float,
    error: type[BaseException],
    sweep: Any,
    uninterrupted: Any,
    interrupted_at: Any,
    caplog: Any,
) -> None:
    """Dropout, mixup, the order of images and the sums of the epoch go on where they were."""
    caplog.set_level(logging.INFO)
    members = [each | {"mixup": 0.3, "checkpoint_seconds": seconds} for each in MEMBERS]
    whole = uninterrupted(*members)
    interrupted_at(step, *members, error=error)
    exactly_the_same(sweep(*members), whole)
    epoch, steps = divmod(step, STEPS)
    told = f"{len(MEMBERS)} members resume after epoch {epoch}, at step {steps} of the next"
    assert told in caplog.messages


def recorded_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which the number of every step is added from now on."""
    steps: list[int] = []
    gradients = Trainer._gradients
    monkeypatch.setattr(
        Trainer, "_gradients", lambda *arguments: steps.append(arguments[-1].step) or gradients(*arguments)
    )
    return steps


def test_within_the_validation(
    sweep: Any, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch, epochs: Any
) -> None:
    """The epoch is trained, but neither recorded nor validated."""
    members = [each | {"val_split": "val", "patience": 2, "checkpoint_seconds": 1000.0} for each in MEMBERS]
    whole = uninterrupted(*members)
    evaluate, calls = Trainer.evaluate, []

    def stopping(trainer: Trainer, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise SystemExit
        return evaluate(trainer, *arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Trainer, "evaluate", stopping)
        sweep(*members)
    steps = recorded_steps(monkeypatch)
    exactly_the_same(sweep(*members), whole)
    assert steps[0] == 2 * STEPS


def test_a_signal_waits_for_the_end_of_an_update(
    sweep: Any, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [each | {"checkpoint_seconds": 1000.0} for each in MEMBERS[:3]]
    whole = uninterrupted(*members)
    update = StepComputation.update

    def signalled(computation: StepComputation, inputs: StepInputs) -> None:
        if inputs.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        update(computation, inputs)

    with monkeypatch.context() as patch, pytest.raises(SystemExit), ending():
        patch.setattr(StepComputation, "update", signalled)
        sweep(*members)
    steps = recorded_steps(monkeypatch)
    exactly_the_same(sweep(*members), whole)
    assert steps[0] == 5


def test_a_state_that_is_changed_in_part_is_not_saved(
    sweep: Any, uninterrupted: Any, interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update that breaks off, here of the second of two networks, leaves the last checkpoint as it was."""
    members = [each | {"checkpoint_seconds": 1000.0} for each in MEMBERS]
    whole = uninterrupted(*members)
    interrupted(2, *members, error=KeyboardInterrupt)

    def breaking(optimizer: Any, *rates: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SGD, "step", breaking)
        sweep(*members)
    exactly_the_same(sweep(*members), whole)


def test_the_size_of_micro_batches_goes_on(
    sweep: Any, uninterrupted: Any, interrupted: Any, monkeypatch: Any
) -> None:
    """Less or more memory may be free than before, which would choose another size and round differently."""
    whole = uninterrupted(*MEMBERS)
    assert whole[0].micro_batch_sizes == [4]
    interrupted(2, *MEMBERS)
    monkeypatch.setattr("losa.adapt.training.trainer.choose_micro_batch_size", lambda *_: 8)
    exactly_the_same(sweep(*MEMBERS), whole)


def test_a_size_that_no_longer_fits_is_told(
    sweep: Any, uninterrupted: Any, interrupted: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = uninterrupted(*MEMBERS)
    interrupted(2, *MEMBERS)
    monkeypatch.setattr("losa.adapt.training.trainer.largest_that_fits", lambda *_: 3)
    found = sweep(*MEMBERS)
    assert [each.micro_batch_sizes for each in found] == [[4, 3]] * len(MEMBERS)
    assert caplog.text.count("memory no longer holds 4 images at once") == 1
    losses = [each.train_loss for each in whole]
    assert [each.train_loss for each in found] == pytest.approx(losses, rel=1e-3)


def test_before_the_first_checkpoint_it_starts_again(
    sweep: Any, uninterrupted: Any, interrupted: Any, epochs: list[tuple[int, int]]
) -> None:
    patient = [each | {"checkpoint_seconds": 1000.0} for each in MEMBERS[:2]]
    whole = uninterrupted(*patient)
    interrupted(3, *patient)
    epochs.clear()
    exactly_the_same(sweep(*patient), whole)
    assert len(epochs) == EPOCHS


def test_twice(sweep: Any, uninterrupted: Any, interrupted: Any) -> None:
    whole = uninterrupted(*MEMBERS[:2])
    interrupted(1, *MEMBERS[:2])
    interrupted(3, *MEMBERS[:2])
    exactly_the_same(sweep(*MEMBERS[:2]), whole)


def test_members_that_were_interrupted_at_different_epochs(
    sweep: Any, uninterrupted: Any, interrupted: Any, epochs: list[tuple[int, int]]
) -> None:
    members = MEMBERS[:3]
    whole = [summary for each in members for summary in uninterrupted(each)]
    interrupted(2, members[0])
    interrupted(4, members[1])
    epochs.clear()
    exactly_the_same(sweep(*members), whole)
    assert epochs == [(2, 1), (3, 1), (4, 1), (4, 1), *((number, 1) for number in range(EPOCHS))]


def test_overwriting_starts_again(
    sweep: Any, uninterrupted: Any, interrupted: Any, epochs: list[tuple[int, int]]
) -> None:
    whole = uninterrupted(MEMBERS[0])
    interrupted(3, MEMBERS[0])
    # Interrupted again before a checkpoint of its own: that of before must not count any more.
    interrupted(1, MEMBERS[0] | {"overwrite": True, "checkpoint_seconds": 1000.0})
    epochs.clear()
    exactly_the_same(sweep(MEMBERS[0]), whole)
    assert len(epochs) == EPOCHS


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\xff", lambda data: b""]
)
def test_a_damaged_checkpoint_starts_again(
    damage: Callable[[bytes], bytes], sweep: Any, uninterrupted: Any, interrupted: Any, tmp_path: Path
) -> None:
    whole = uninterrupted(MEMBERS[0])
    interrupted(3, MEMBERS[0])
    (path,) = (tmp_path / "sweep").glob(f"*/{CHECKPOINT_NAME}")
    path.write_bytes(damage(path.read_bytes()))
    exactly_the_same(sweep(MEMBERS[0]), whole)


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_halving_goes_on_among_the_same(
    epoch: int, sweep: Any, uninterrupted: Any, interrupted: Any, epochs: list[tuple[int, int]]
) -> None:
    """Members dropped before the interruption are not trained again: alone they would not be dropped."""
    members = [option(lr=lr, halve_at=[2, 3], val_split="val") for lr in (1e-6, 0.02, 0.01, 1e-4)]
    whole = uninterrupted(*members)
    assert [summary.status for summary in whole] == ["pruned", "finished", "pruned", "pruned"]
    interrupted(epoch, *members)
    epochs.clear()
    exactly_the_same(sweep(*members), whole)
    assert epochs == [(number, [4, 4, 2, 1, 1][number]) for number in range(epoch, EPOCHS)]


def test_a_checkpoint_of_other_company_does_not_count(
    sweep: Any, interrupted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    members = [option(lr=lr, halve_at=[2], val_split="val") for lr in (0.02, 1e-6)]
    interrupted(4, *members)
    (alone,) = sweep(members[1])
    assert (alone.status, alone.epochs) == ("finished", EPOCHS)
    assert "is of other company (halve_at)" in caplog.text


def test_members_that_are_halved_go_on_together_or_not_at_all(
    sweep: Any, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    members = [option(lr=lr, halve_at=[2], val_split="val") for lr in (0.02, 0.01, 1e-6, 1e-5)]
    whole = uninterrupted(*members)
    save, saved = MemberFiles.save_checkpoint, []

    def dying(*arguments: Any) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(arguments)
        save(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MemberFiles, "save_checkpoint", dying)
        sweep(*members)
    found = sweep(*members)
    assert [summary.status for summary in found] == ["finished", "finished", "pruned", "pruned"]
    exactly_the_same(found, whole)
    assert "4 members with halve_at=[2] were interrupted at different steps" in caplog.text


def test_an_interruption_while_scoring_costs_no_epoch(
    sweep: Any, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch, epochs: list[tuple[int, int]]
) -> None:
    whole = uninterrupted(*MEMBERS)

    def stopping(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "evaluate", stopping)
        sweep(*MEMBERS)
    epochs.clear()
    exactly_the_same(sweep(*MEMBERS), whole)
    assert not epochs


@pytest.mark.parametrize(
    ("told", "message"), [("version", "another version of losa"), ("cache", "another state")]
)
def test_a_checkpoint_that_does_not_fit_is_not_dropped_in_silence(
    told: str, message: str, sweep: Any, uninterrupted: Any, interrupted: Any, monkeypatch: Any, caplog: Any
) -> None:
    whole = uninterrupted(MEMBERS[0])
    with monkeypatch.context() as patch:
        if told == "version":
            patch.setattr("losa.adapt.members.member_files.CHECKPOINT_VERSION", 0)
        else:
            save = MemberFiles.save_checkpoint
            patch.setattr(
                MemberFiles, "save_checkpoint", lambda files, checkpoint, origin: save(files, checkpoint, {})
            )
        interrupted(2, MEMBERS[0])
    exactly_the_same(sweep(MEMBERS[0]), whole)
    assert f"is of {message}" in caplog.text
    assert "trained from the start" in caplog.text


@pytest.mark.parametrize("epoch", [1, 4, 7])
def test_early_stopping_goes_on(epoch: int, sweep: Any, uninterrupted: Any, interrupted: Any) -> None:
    options = {"val_split": "val", "eval_split": ["val", "test"], "epochs": 8, "lr": 0.1}
    members = [option(**options, seed=seed, patience=3) for seed in range(3)]
    members.append(option(**options, side="linear", patience=7))
    whole = uninterrupted(*members)
    assert {summary.epochs for summary in whole} > {8}
    interrupted(epoch, *members)
    exactly_the_same(sweep(*members), whole)


def test_a_process_that_is_killed(
    sweep: Any, uninterrupted: Any, member: Any, run_alone: Any, tmp_path: Path
) -> None:
    whole = uninterrupted(*MEMBERS[:2])
    program = f"""
import os, signal
from pathlib import Path
import torch
from losa.adapt import AdaptConfig, Job, Trainer, adapt_all
from losa.adapt.members.member_files import MemberFiles
from losa.cache_format.engines import EngineConfig

torch.set_num_threads(1)
save, saved = MemberFiles.save_checkpoint, []

def dying(*arguments):
    save(*arguments)
    saved.append(arguments)
    if len(saved) == 17:  # after the first of two members, at the first of three steps of the third epoch
        os.kill(os.getpid(), signal.SIGKILL)

MemberFiles.save_checkpoint = dying
configs = [AdaptConfig(**options) for options in {[option_of(member(**each)) for each in MEMBERS[:2]]!r}]
adapt_all([Job(config, Path({str(tmp_path / "sweep")!r}) / config.member_name) for config in configs])
"""
    died = run_alone(program)
    assert died.returncode == -signal.SIGKILL, died.stderr
    folders = [tmp_path / "sweep" / Path(summary.folder).name for summary in whole]
    assert [len(metrics(folder)) for folder in folders] == [2, 2]
    assert all({CHECKPOINT_NAME, LOCK_NAME} <= {path.name for path in each.iterdir()} for each in folders)
    assert not any((folder / SUMMARY_NAME).exists() for folder in folders)
    found = sweep(*MEMBERS[:2])
    # One resumes a step after the other, so each ends alone: close, not bit for bit.
    for mine, theirs in zip(found, whole, strict=True):
        assert mine.shared_pass.members == 1
        assert mine.accuracy == theirs.accuracy
        assert mine.train_loss == pytest.approx(theirs.train_loss, abs=1e-5)
    assert [[line["epoch"] for line in metrics(folder)] for folder in folders] == [list(range(EPOCHS))] * 2
    assert not any((folder / CHECKPOINT_NAME).exists() for folder in folders)


def option_of(config: Any) -> dict[str, Any]:
    """All options of a member, as Python writes them."""
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_saves_the_last_epoch(
    error: type[BaseException],
    sweep: Any,
    uninterrupted: Any,
    interrupted: Any,
    epochs: list[tuple[int, int]],
) -> None:
    patient = [each | {"checkpoint_seconds": 1000.0} for each in MEMBERS]
    whole = uninterrupted(*patient)
    interrupted(3, *patient, error=error)
    epochs.clear()
    exactly_the_same(sweep(*patient), whole)
    assert epochs == [(3, len(MEMBERS)), (4, len(MEMBERS))]


def test_a_damaged_checkpoint_is_told_once(
    sweep: Any, interrupted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(3, MEMBERS[0])
    (path,) = (tmp_path / "sweep").glob(f"*/{CHECKPOINT_NAME}")
    path.write_bytes(b"")
    sweep(MEMBERS[0])
    told = [message for message in caplog.messages if "damaged" in message]
    assert told == [f"{path} is damaged; the member is trained from the start"]


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_a_checkpoint_that_lacks_a_tensor_is_named_and_its_member_retrained(
    change: str,
    sweep: Any,
    uninterrupted: Any,
    interrupted: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    whole = uninterrupted(*MEMBERS[:2])

    def incomplete(files: MemberFiles, checkpoint: Checkpoint, origin: Any) -> None:
        state = dict(checkpoint.state)
        if files.config.seed == 1:
            weight = state.pop("parameter.head.weight")
            if change == "shape":
                state["parameter.head.weight"] = weight[1:]
        save(files, replace(checkpoint, state=state), origin)

    save = MemberFiles.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(MemberFiles, "save_checkpoint", incomplete)
        interrupted(3, *MEMBERS[:2])
    # Not to the bit, because each is in a pass of its own now.
    losses = [summary.train_loss for summary in sweep(*MEMBERS[:2])]
    assert losses == pytest.approx([summary.train_loss for summary in whole], rel=1e-5)
    (told,) = [message for message in caplog.messages if "from the start" in message]
    assert "tensor 'parameter.head.weight'" in told


def test_all_seconds_count(sweep: Any, interrupted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("losa.adapt.members.training_pass.time.perf_counter", lambda: float(next(clock)))
    (whole,) = sweep(MEMBERS[1], folder="whole")
    interrupted(4, MEMBERS[1])
    (found,) = sweep(MEMBERS[1])
    assert found.seconds > 0.7 * whole.seconds
    assert found.train_seconds > 0.7 * whole.train_seconds
    assert found.shared_pass.seconds == found.seconds
    lines = (Path(found.folder) / METRICS_NAME).read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert seconds == sorted(seconds)


def test_a_company_goes_on_without_those_that_diverged(
    sweep: Any, uninterrupted: Any, interrupted: Any, epochs: list[tuple[int, int]]
) -> None:
    members = [option(lr=lr, halve_at=[2], val_split="val") for lr in (0.02, 0.01)]
    members.append(option(lr=1e30, norm="none", halve_at=[2], val_split="val"))
    whole = uninterrupted(*members)
    interrupted(3, *members)
    epochs.clear()
    found = sweep(*members)
    assert epochs == [(3, 1), (4, 1)]
    exactly_the_same(found[:2], whole[:2])
    assert str(found[2]).startswith(str(whole[2]))
    assert isinstance(sweep(*members)[2], LosaError)
    assert len(epochs) == 2


def test_a_company_whose_results_are_written_in_part_is_scored_again(
    sweep: Any, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch, epochs: list[tuple[int, int]]
) -> None:
    members = [option(lr=lr, halve_at=[2], val_split="val") for lr in (0.02, 1e-6)]
    whole = uninterrupted(*members)
    finish, finished = MemberFiles.finish, []

    def dying(files: MemberFiles, *arguments: Any) -> None:
        if finished:
            raise Killed
        finished.append(files)
        finish(files, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MemberFiles, "finish", dying)
        sweep(*members)
    epochs.clear()
    exactly_the_same(sweep(*members), whole)
    assert epochs == []


def test_divergence_is_remembered(sweep: Any, epochs: list[tuple[int, int]]) -> None:
    members = [option(norm="none", lr=1e30), MEMBERS[1]]
    failed, _ = sweep(*members)
    epochs.clear()
    again, _ = sweep(*members)
    assert epochs == []
    assert str(again).startswith(str(failed))
    sweep(members[0] | {"overwrite": True})
    assert epochs == [(0, 1)]
