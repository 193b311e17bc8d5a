"""Many members are trained in few passes; the outcome of each does not depend on the others."""

import json
import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import Job, MemberSummary, Trainer, adapt, adapt_all, load_side_network
from losa.adapt.members.member_files import (
    CHECKPOINT_NAME,
    CONFUSION_NAME,
    METRICS_NAME,
    SUMMARY_NAME,
    MemberFiles,
)
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.training.confusion import Confusion
from losa.adapt.training.epoch_inputs import StepInputs
from losa.cache_format import LosaError
from losa.cache_format.storage.lock import FileLock

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

DIVERGING = {"lr": 1e30, "norm": "none"}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of members with every pass that is trained."""
    found: list[int] = []
    init = Trainer.__init__

    def counting(trainer: Trainer, groups: Any, *arguments: Any, micro_batch_size: int | None = None) -> None:
        if micro_batch_size is None:
            found.append(sum(len(group.numbers) for group in groups))
        init(trainer, groups, *arguments, micro_batch_size=micro_batch_size)

    monkeypatch.setattr(Trainer, "__init__", counting)
    return found


def tensors(summary: MemberSummary) -> dict[str, torch.Tensor]:
    return dict(load_side_network(summary.folder).network.named_parameters())


def metrics(summary: MemberSummary) -> list[dict[str, Any]]:
    lines = (Path(summary.folder) / METRICS_NAME).read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def same(first: MemberSummary, second: MemberSummary, tolerance: float = 1e-6) -> None:
    """Two summaries are equal but for times, and the networks are equal within a tolerance."""
    mine, theirs = first.to_json(), second.to_json()
    for name in ("member", "accuracy", "scores", "status", "epochs", "best_epoch", "cache", "parameters"):
        assert mine[name] == theirs[name], name
    assert first.train_loss == pytest.approx(second.train_loss, abs=tolerance)
    others = tensors(second)
    for name, value in tensors(first).items():
        torch.testing.assert_close(value, others[name], rtol=0, atol=tolerance, msg=name)
    lines = metrics(first), metrics(second)
    assert [line["epoch"] for line in lines[0]] == [line["epoch"] for line in lines[1]]
    for name in ("train_loss", "train_accuracy"):
        values = [[line[name] for line in each] for each in lines]
        np.testing.assert_allclose(*values, rtol=0, atol=tolerance)


class TestOutcomes:
    def test_are_those_of_members_alone(
        self, sweep: Any, member: Any, passes: list[int], tmp_path: Path
    ) -> None:
        options: list[dict[str, Any]] = [
            {"seed": 1},
            {"side": "last", "lr": 0.01, "label_smoothing": 0.1},
            {"side": "linear", "optimizer": "sgd"},
            {"rank": 2, "sites": 2, "norm": "frozen", "dropout": 0.2},
            {"seed": 2, "weight_decay": 0.1},
        ]
        together = sweep(*options)
        assert passes == [5]
        for each, summary in zip(options, together, strict=True):
            assert summary.shared_pass.members == 5
            config = member(**each)
            assert summary.member == config.member_id
            same(summary, adapt(config, tmp_path / "alone" / config.member_name), 1e-4)

    def test_the_same_job_twice(self, member: Any, passes: list[int], tmp_path: Path) -> None:
        jobs = [Job(member(seed=seed), tmp_path / str(seed)) for seed in (1, 2, 1)]
        found = adapt_all(jobs)
        assert passes == [2]
        assert found[0] is found[2]
        assert [summary.seed for summary in found] == [1, 2, 1]  # type: ignore[index]

    def test_idle_options_make_no_other_member(self, sweep: Any, passes: list[int]) -> None:
        """A sweep over ranks and kinds trains one linear probe, not one of every rank."""
        found = sweep({"side": "linear", "rank": 2}, {"side": "linear", "rank": 4}, {"rank": 2}, {"rank": 4})
        assert passes == [3]
        assert found[0] is found[1]
        assert [summary.rank for summary in found] == [None, None, 2, 4]

    def test_two_members_in_one_folder(self, member: Any, tmp_path: Path) -> None:
        configs = [member(seed=seed) for seed in (1, 2)]
        first, second = adapt_all([Job(config, tmp_path / "one") for config in configs])
        assert isinstance(first, MemberSummary)
        assert isinstance(second, LosaError)
        assert str(second) == (
            f"{tmp_path / 'one'} was given to {configs[0].member_name} in the same sweep; "
            f"{configs[1].member_name} needs another folder (hydra.sweep.subdir=...)"
        )

    def test_no_jobs(self) -> None:
        assert adapt_all([]) == []

    def test_a_wrong_option_costs_the_others_nothing(
        self, sweep: Any, passes: list[int], tmp_path: Path
    ) -> None:
        wrong: list[dict[str, Any]] = [
            {"side": "last", "rank": 3},
            {"label": "lable"},
            {"eval_split": "tset"},
            {"sites": 99},
            {"cache": str(tmp_path / "nowhere")},
            {"residency": "gpu", "seed": 2},
        ]
        found = sweep({}, *wrong, {"seed": 1})
        assert passes == [2]
        assert [isinstance(each, LosaError) for each in found] == [False, *[True] * 6, False]
        assert len(list((tmp_path / "sweep").iterdir())) == 2
        alone = sweep({}, {"seed": 1}, folder="without")
        for mine, theirs in zip((found[0], found[-1]), alone, strict=True):
            same(mine, theirs, 0)

    def test_finished_ones_are_found(self, sweep: Any, passes: list[int]) -> None:
        first = sweep({"seed": 1}, {"seed": 2})
        second = sweep({"seed": 2}, {"seed": 3}, {"seed": 1})
        assert passes == [2, 1]
        assert [second[2], second[0]] == first
        assert sweep({"seed": 3}) == [second[1]]
        assert passes == [2, 1]

    def test_another_cache_is_another_pass(
        self, sweep: Any, toy_cache: Any, passes: list[int], tmp_path: Path
    ) -> None:
        other = str(replace(toy_cache, seed=1, width=12).write(tmp_path / "other"))
        found = sweep({}, {"cache": other}, {"seed": 1}, {"cache": other, "seed": 1})
        assert passes == [2, 2]
        assert [summary.cache["path"] == other for summary in found] == [False, True, False, True]

    def test_passes_are_cut_to_memory(
        self, sweep: Any, passes: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        options = [{"seed": seed} for seed in range(5)]
        whole = sweep(*options, folder="whole")
        monkeypatch.setattr("losa.adapt.members.passes.members_at_once", lambda *_: 2)
        for mine, theirs in zip(sweep(*options), whole, strict=True):
            same(mine, theirs, 1e-4)
        assert passes == [5, 2, 2, 1]
        assert any(line.startswith("pass 3 of 3: losa-r4-lr0.02-seed4-") for line in caplog.messages)

    def test_a_folder_in_use_costs_the_others_nothing(self, member: Any, tmp_path: Path) -> None:
        (tmp_path / "used").mkdir()
        lock = FileLock(tmp_path / "used")
        found = adapt_all([Job(member(), tmp_path / "used"), Job(member(seed=1), tmp_path / "free")])
        lock.release()
        assert [type(each).__name__ for each in found] == ["CacheInUse", "MemberSummary"]

    def test_damage_of_one_cache_costs_the_others_nothing(
        self, sweep: Any, toy_cache: Any, tmp_path: Path
    ) -> None:
        other = replace(toy_cache, seed=1).write(tmp_path / "other")
        (shard,) = other.glob("arrays.zarr/segments/train/codes/c.1.0.0.0")
        shard.write_bytes(bytes(byte ^ 255 for byte in shard.read_bytes()))
        found = sweep({"cache": str(other)}, {}, {"cache": str(other), "seed": 1})
        assert [type(each).__name__ for each in found] == ["CorruptCache", "MemberSummary", "CorruptCache"]


class TestDivergence:
    def test_costs_the_others_nothing(self, sweep: Any, tmp_path: Path) -> None:
        """Another network of the pass: bit for bit. The same network: its products have other shapes."""
        own_network = {"seed": 1, "norm": "layer"}
        same_network = {"seed": 2, "norm": "none"}
        found = sweep(own_network, same_network, DIVERGING)
        alone = sweep(own_network, same_network, folder="without")
        same(found[0], alone[0], 0)
        same(found[1], alone[1], 1e-6)
        assert isinstance(found[2], LosaError)
        assert "the loss became NaN or infinite in epoch 0 (lr=1e+30): use a smaller lr" in str(found[2])
        (folder,) = (path for path in (tmp_path / "sweep").iterdir() if "lr1e+30" in path.name)
        assert not {SUMMARY_NAME, CHECKPOINT_NAME, CONFUSION_NAME} & {path.name for path in folder.iterdir()}
        (line,) = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
        assert line["train_loss"] is None

    def test_of_all_members(self, sweep: Any) -> None:
        found = sweep(DIVERGING, DIVERGING | {"seed": 1})
        assert [type(each) for each in found] == [LosaError, LosaError]

    def test_seen_on_the_watched_split_alone(self, sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        evaluate = Trainer.evaluate

        def failing(trainer: Trainer, data: Any, *arguments: Any) -> Any:
            found = evaluate(trainer, data, *arguments)
            return found | {1: None} if data.name == "split 'val'" else found

        monkeypatch.setattr(Trainer, "evaluate", failing)
        found = sweep({"val_split": "val"}, {"val_split": "val", "seed": 1})
        assert isinstance(found[0], MemberSummary)
        assert "the scores of split 'val' are NaN or infinite" in str(found[1])


class TestWatching:
    def test_every_epoch_is_scored(self, sweep: Any) -> None:
        (summary,) = sweep({"val_split": "val", "eval_split": "val", "epochs": 5})
        found = [line["val_accuracy"] for line in metrics(summary)]
        assert len(found) == 5
        assert found[-1] == summary.accuracy["val"]
        assert summary.best_val_accuracy == max(found)
        assert summary.best_epoch is None  # without patience the last epoch counts

    def test_watching_changes_no_training(self, sweep: Any) -> None:
        plain, watched = sweep({}, {"val_split": "val"})
        for name, value in tensors(plain).items():
            assert torch.equal(value, tensors(watched)[name])

    @pytest.fixture
    def accuracies(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """``accuracies({seed: [...]})``: what members are told of the watched split, epoch by epoch."""

        def tell(of: dict[int, list[float]]) -> None:
            evaluate, asked = Trainer.evaluate, dict.fromkeys(of, 0)

            def told(trainer: Trainer, data: Any, *arguments: Any) -> Any:
                found = evaluate(trainer, data, *arguments)
                if data.name != "split 'val'":
                    return found
                for group in trainer.groups:
                    for number, config in zip(group.numbers, group.configs, strict=True):
                        right = round(1000 * of[config.seed][asked[config.seed]])
                        cells = np.array([[0, 0], [0, 1], [right, 1000 - right]])
                        confusion = Confusion(true=cells[0], predicted=cells[1], counts=cells[2])
                        found[number] = [replace(found[number][0], confusion=confusion)]
                        asked[config.seed] += 1
                return found

            monkeypatch.setattr(Trainer, "evaluate", told)

        return tell

    def test_patience_restores_the_best_epoch(self, sweep: Any, accuracies: Any) -> None:
        accuracies({0: [0.5, 0.9, 0.7, 0.9, 0.8, 0.8], 1: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2: [0.9, 0.1, 0.1]})
        watched = {"val_split": "val", "epochs": 6, "patience": 2}
        found = sweep(*(watched | {"seed": seed} for seed in (0, 1, 2)))
        assert [summary.epochs for summary in found] == [4, 6, 3]
        assert [summary.best_epoch for summary in found] == [1, 5, 0]
        assert [summary.best_val_accuracy for summary in found] == [0.9, 0.6, 0.9]
        assert [len(metrics(summary)) for summary in found] == [4, 6, 3]
        assert {summary.status for summary in found} == {"finished"}
        assert sweep(*(watched | {"seed": seed} for seed in (0, 1, 2))) == found

    def test_the_best_epoch_is_what_is_saved(
        self, sweep: Any, accuracies: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[torch.Tensor] = []
        epoch = Trainer.epoch

        def remembering(trainer: Trainer, number: int, *arguments: Any) -> Any:
            found = epoch(trainer, number, *arguments)
            seen.append(trainer.groups[0].network.channel_up[0].detach().clone())
            return found

        monkeypatch.setattr(Trainer, "epoch", remembering)
        accuracies({0: [0.5, 0.9, 0.7, 0.8, 0.8, 0.8]})
        (summary,) = sweep({"val_split": "val", "epochs": 6, "patience": 3})
        assert len(seen) == 5
        assert torch.equal(tensors(summary)["channel_up"][0], seen[1])

    def test_scores_are_those_of_the_best_epoch(self, sweep: Any) -> None:
        options = {"val_split": "val", "eval_split": ["val", "test"], "epochs": 8, "patience": 1, "lr": 0.2}
        found = sweep(*(options | {"seed": seed} for seed in range(4)))
        for summary in found:
            assert summary.accuracy["val"] == summary.best_val_accuracy
            assert metrics(summary)[summary.best_epoch]["val_accuracy"] == summary.accuracy["val"]
        assert {summary.epochs for summary in found} != {8}

    def test_the_worse_half_is_dropped(self, sweep: Any, accuracies: Any, passes: list[int]) -> None:
        accuracies({seed: [level] * 6 for seed, level in enumerate([0.5, 0.9, 0.1, 0.7, 0.3])})
        options = {"val_split": "val", "epochs": 6, "halve_at": [2, 4]}
        found = sweep(*(options | {"seed": seed} for seed in range(5)))
        assert [summary.epochs for summary in found] == [4, 6, 2, 6, 2]
        expected = ["pruned", "finished", "pruned", "finished", "pruned"]
        assert [summary.status for summary in found] == expected
        assert all(set(summary.accuracy) == {"test"} for summary in found)
        assert sweep(*(options | {"seed": seed} for seed in range(5))) == found
        assert passes == [5]

    def test_label_smoothing_is_no_reason_to_be_dropped(self, sweep: Any, accuracies: Any) -> None:
        """It raises the training loss of members that are as good as the others."""
        accuracies({seed: [level] * 4 for seed, level in enumerate([0.5, 0.6, 0.8, 0.9])})
        options = {"val_split": "val", "epochs": 4, "halve_at": [2]}
        found = sweep(*(options | {"seed": seed, "label_smoothing": seed / 10} for seed in range(4)))
        assert [summary.status for summary in found] == ["pruned", "pruned", "finished", "finished"]

    def test_those_that_are_left_are_what_they_are_without_the_others(self, sweep: Any) -> None:
        options = {"val_split": "val", "epochs": 4, "halve_at": [2]}
        found = sweep(options, options | {"lr": 1e-6})
        (alone,) = sweep(options, folder="alone")
        same(found[0], alone, 1e-5)

    def test_a_sweep_that_needs_several_passes_is_halved_in_each_and_says_so(
        self, sweep: Any, accuracies: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        accuracies({seed: [level] * 4 for seed, level in enumerate([0.9, 0.8, 0.2, 0.1])})
        options = {"val_split": "val", "epochs": 4, "halve_at": [2]}
        found = sweep(*(options | {"seed": seed, "data_seed": seed // 2} for seed in range(4)))
        assert [summary.status for summary in found] == ["finished", "pruned", "finished", "pruned"]
        assert "halve_at compares the members of each pass, and those of this sweep need 2" in caplog.text

    def test_an_end_before_the_last_epoch(self, sweep: Any) -> None:
        """The learning rate falls as if training went on."""
        whole, cut = sweep({"epochs": 4}, {"epochs": 4, "stop_after": 2})
        assert (cut.epochs, metrics(cut)) == (2, metrics(whole)[:2])


class TestCompany:
    """What becomes of a member under successive halving depends on those that it is compared with."""

    @staticmethod
    def halved(lr: float, **options: Any) -> dict[str, Any]:
        return {"val_split": "val", "epochs": 4, "halve_at": [1], "lr": lr} | options

    def test_a_member_that_was_dropped_is_trained_to_the_end_alone(
        self, sweep: Any, passes: list[int], caplog: pytest.LogCaptureFixture
    ) -> None:
        together = [self.halved(0.02), self.halved(1e-6)]
        found = sweep(*together)
        assert [(summary.status, summary.epochs) for summary in found] == [("finished", 4), ("pruned", 1)]
        assert sweep(*together[::-1]) == found[::-1]
        assert passes == [2]
        (alone,) = sweep(together[1])
        assert (alone.status, alone.epochs) == ("finished", 4)
        assert caplog.text.count("of 1 members, 1 were finished in other company") == 1
        assert [summary.status for summary in sweep(*together)] == ["finished", "pruned"]
        assert passes == [2, 1, 2]

    def test_a_larger_sweep_compares_all_of_its_members(self, sweep: Any, passes: list[int]) -> None:
        sweep(self.halved(1e-5), self.halved(1e-6))
        found = sweep(self.halved(1e-5), self.halved(1e-6), self.halved(0.02), self.halved(0.03))
        assert [summary.status for summary in found] == ["pruned", "pruned", "finished", "finished"]
        assert passes == [2, 4]

    def test_those_that_diverged_are_not_waited_for(self, sweep: Any, passes: list[int]) -> None:
        members = [self.halved(0.02), self.halved(1e-6), self.halved(1e30, norm="none")]
        found = sweep(*members)
        again = sweep(*members)
        assert again[:2] == found[:2]
        assert isinstance(again[2], LosaError)
        assert passes == [3]

    def test_a_company_is_finished_as_a_whole(self, sweep: Any, passes: list[int]) -> None:
        members = [self.halved(0.02), self.halved(0.01), self.halved(1e-6)]
        found = sweep(*members)
        (Path(found[2].folder) / SUMMARY_NAME).unlink()
        assert [summary.status for summary in sweep(*members)] == ["finished", "finished", "pruned"]
        assert passes == [3, 3]

    def test_members_without_halving_are_finished_in_any_company(self, sweep: Any, passes: list[int]) -> None:
        (plain,) = sweep({"seed": 3})
        assert plain.company is None
        assert sweep({"seed": 3}, self.halved(0.02), self.halved(0.01))[0] == plain
        assert passes == [1, 2]


class TestLabels:
    def test_two_columns(self, sweep: Any, passes: list[int]) -> None:
        both, one = sweep({"label": ["label", "some"], "epochs": 20, "lr": 0.05}, {"label": "some"})
        assert passes == [1, 1]
        assert set(both.scores["test"]) == {"label", "some"}
        images = {name: scores.images for name, scores in both.scores["test"].items()}
        assert images == {"label": 12, "some": 6}
        assert both.images == {"train": 24, "test": 12}
        assert one.images == {"train": 12, "test": 6}
        top1 = [scores.top1 for scores in both.scores["test"].values()]
        assert both.accuracy["test"] == np.mean(top1) > 0.9
        assert tensors(both)["head.weight"].shape == (1, 8, 6)

    def test_scores_and_confusion(self, sweep: Any) -> None:
        (summary,) = sweep({"eval_split": ["val", "test"], "epochs": 1})
        confusion = json.loads((Path(summary.folder) / CONFUSION_NAME).read_text())
        assert confusion["classes"] == {"label": ["ant", "bee", "cat"]}
        assert set(confusion["splits"]) == {"val", "test"}
        for split, images in (("val", 9), ("test", 12)):
            true, predicted, counts = np.array(confusion["splits"][split]["label"]).T
            cells = np.zeros((3, 3), np.int64)
            cells[true, predicted] = counts
            found = summary.scores[split]["label"]
            assert found.images == cells.sum() == images
            assert found.top1 == summary.accuracy[split] == np.trace(cells) / images
            assert found.mean_per_class == pytest.approx((np.diag(cells) / cells.sum(axis=1)).mean())
            assert found.top5 == 1

    def test_balanced_classes(self, sweep: Any, toy_cache: Any, tmp_path: Path) -> None:
        class Unbalanced(type(toy_cache)):  # type: ignore[misc]
            def contents(self, split: str) -> Any:
                found = super().contents(split)
                labels = np.where(np.arange(len(found.keys)) % 8, 0, found.labels["label"])
                return replace(found, labels={**found.labels, "label": labels})

        cache = str(Unbalanced(splits={"train": 48, "test": 48}).write(tmp_path / "unbalanced"))
        options = {"cache": cache, "side": "linear", "epochs": 6, "lr": 0.05}
        plain, balanced = sweep(options, options | {"class_weights": "balanced"})
        found = [summary.scores["test"]["label"].mean_per_class for summary in (plain, balanced)]
        assert found[0] < found[1]


class TestOptions:
    def test_bfloat16_is_close_to_float32(self, sweep: Any, passes: list[int]) -> None:
        for norm in ("frozen", "layer"):
            exact, rough = sweep({"norm": norm}, {"norm": norm, "dtype": "bfloat16"})
            assert rough.train_loss == pytest.approx(exact.train_loss, abs=0.02)
            assert rough.train_loss != exact.train_loss
        assert passes == [1] * 4

    @pytest.mark.parametrize("option", [{"mixup": 0.4}, {"dropout": 0.4}, {"label_smoothing": 0.4}], ids=str)
    def test_changes_the_training(self, option: dict[str, Any], sweep: Any) -> None:
        plain, other = sweep({"lr": 0.05, "epochs": 4}, {"lr": 0.05, "epochs": 4} | option)
        assert abs(plain.train_loss - other.train_loss) > 1e-4
        assert all(line["train_accuracy"] is None for line in metrics(other)) == ("mixup" in option)


def test_a_folder_that_cannot_be_used_costs_the_others_nothing(member: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folders = [tmp_path / "one", tmp_path / "file", tmp_path / "three"]
    jobs = [Job(member(side="linear", seed=seed), folder) for seed, folder in enumerate(folders)]
    first, failed, third = adapt_all(jobs)
    assert isinstance(first, MemberSummary)
    assert isinstance(third, MemberSummary)
    assert isinstance(failed, LosaError)
    assert f"{tmp_path / 'file'} is the member's folder; choose another" in str(failed)


@pytest.mark.parametrize(
    ("kind", "told"),
    [(torch.OutOfMemoryError, ["no memory"]), (OSError, [28, "No space left"]), (LosaError, ["no luck"])],
)
def test_a_pass_that_fails_costs_the_others_nothing_and_leaves_nothing_in_memory(
    kind: type[Exception], told: list[Any], member: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch, kept = Trainer.epoch, []

    def failing(trainer: Trainer, number: int, *arguments: Any) -> Any:
        if trainer._config.data_seed == 0:
            kept.append(weakref.ref(trainer))
            raise kind(*told) from ValueError("the cause")
        assert kept[0]() is None
        return epoch(trainer, number, *arguments)

    monkeypatch.setattr(Trainer, "epoch", failing)
    jobs = [Job(member(side="linear", data_seed=seed), tmp_path / str(seed)) for seed in range(2)]
    failed, finished = adapt_all(jobs)
    assert isinstance(failed, LosaError)
    assert told[-1] in str(failed)
    assert isinstance(finished, MemberSummary)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError])
def test_a_pass_that_memory_does_not_hold_is_trained_in_parts(
    kind: type[Exception], sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [{"side": "linear", "seed": seed, "checkpoint_seconds": 0.0} for seed in range(3)]
    whole = sweep(*options, folder="whole")
    epoch, together = Trainer.epoch, []

    def small(trainer: Trainer, number: int, *arguments: Any) -> Any:
        together.append((number, len(trainer.numbers)))
        if number == 1 and len(trainer.numbers) > 1:
            raise kind("no memory")
        return epoch(trainer, number, *arguments)

    monkeypatch.setattr(Trainer, "epoch", small)
    found = sweep(*options)
    assert [each.train_loss for each in found] == [each.train_loss for each in whole]
    assert together == [(0, 3), (1, 3), (1, 1), (2, 1), (1, 2), (1, 1), (2, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("seconds", "told"), [(1000.0, "No checkpoint was written yet"), (0.0, "Checkpoints are kept")]
)
def test_what_is_kept_of_a_pass_that_failed(
    seconds: float, told: str, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = Trainer.epoch

    full = OSError(28, "No space left on device")

    def failing(trainer: Trainer, number: int, *arguments: Any) -> Any:
        if number == 1:
            monkeypatch.setattr(MemberFiles, "save_checkpoint", never)
            raise full
        return epoch(trainer, number, *arguments)

    def never(*arguments: Any) -> None:
        raise full

    monkeypatch.setattr(Trainer, "epoch", failing)
    (failed,) = sweep({"checkpoint_seconds": seconds})
    assert f"No space left on device. {told}: remove the cause" in str(failed)


@pytest.mark.parametrize("method", ["start", "add_metrics", "save_checkpoint", "finish"])
def test_a_member_whose_files_cannot_be_written_costs_the_others_nothing(
    method: str, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [{"side": "linear", "seed": seed, "checkpoint_seconds": 0.0} for seed in range(3)]
    whole = sweep(*options, folder="whole")
    write = getattr(MemberFiles, method)

    def failing(files: MemberFiles, *arguments: Any) -> None:
        if files.config.seed == 1:
            raise OSError(13, "Permission denied")
        write(files, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MemberFiles, method, failing)
        first, failed, third = sweep(*options)
    for mine, theirs in ((first, whole[0]), (third, whole[2])):
        same(mine, theirs)
    kept = "It has no checkpoint" if method in ("start", "save_checkpoint") else "Its checkpoint is kept"
    assert str(failed).endswith(f"Permission denied. {kept}: remove the cause and run the same command again")
    same(sweep(*options)[1], whole[1])


class TestMemory:
    """What happens when memory runs out: smaller parts, then the pass in two, and no other member is lost."""

    @staticmethod
    def failing_above(members: int) -> Any:
        gradients = Trainer._gradients

        def failing(trainer: Trainer, batch: Any, inputs: StepInputs) -> Any:
            if inputs.step == 4 and len(trainer.numbers) > members:
                raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
            return gradients(trainer, batch, inputs)

        return failing

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_parts_go_on_where_the_pass_was(
        self, overwrite: bool, sweep: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = [{"side": "linear", "seed": seed, "overwrite": overwrite} for seed in range(2)]
        options.append({"side": "linear", "overwrite": overwrite} | DIVERGING | {"side": "losa"})
        whole = sweep(*options, folder="whole")
        steps = []
        failing = self.failing_above(1)

        def counting(*arguments: Any) -> Any:
            steps.append(arguments[-1].step)
            return failing(*arguments)

        monkeypatch.setattr(Trainer, "_gradients", counting)
        found = sweep(*options)
        for mine, theirs in zip(found[:2], whole[:2], strict=True):
            same(mine, theirs)
        assert isinstance(found[2], LosaError)
        # The member that diverged in the first epoch, of three steps, is not trained again.
        assert steps == [*range(5), *range(4, 9), *range(4, 9)]
        assert [one.shared_pass.members for one in found[:2]] == [1, 1]

    def test_a_single_member_says_what_to_do(self, sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Trainer, "_gradients", self.failing_above(0))
        (failed,) = sweep({"side": "linear"})
        assert str(failed).startswith("DefaultCPUAllocator: not enough memory")
        assert "use a smaller rank, fewer sites (sites=4) or residency=stream" in str(failed)
        assert str(failed).endswith("Checkpoints are kept")

    def test_a_halved_pass_is_divided_and_says_so(
        self, sweep: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        options = {"val_split": "val", "epochs": 4, "halve_at": [3]}
        monkeypatch.setattr(Trainer, "_gradients", self.failing_above(2))
        found = sweep(*(options | {"seed": seed} for seed in range(4)))
        assert sorted(summary.status for summary in found) == ["finished", "finished", "pruned", "pruned"]
        assert "halve_at compares the members of each part" in caplog.text

    @pytest.mark.parametrize("where", ["prepare", "with_checkpoint"])
    def test_before_the_pass_it_is_the_error_of_one_member(
        self, where: str, sweep: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kind = JobPreparer if where == "prepare" else PreparedJob
        whole = getattr(kind, where)

        def failing(self: Any, *arguments: Any) -> Any:
            config = self.config if where == "with_checkpoint" else arguments[0].config
            if config.seed == 1:
                raise MemoryError
            return whole(self, *arguments)

        monkeypatch.setattr(kind, where, failing)
        first, failed = sweep({"side": "linear"}, {"side": "linear", "seed": 1})
        assert isinstance(first, MemberSummary)
        assert "Memory does not hold the member" in str(failed)

    def test_codes_that_were_to_stay_in_memory(self, sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*arguments: Any) -> None:
            raise MemoryError

        monkeypatch.setattr("losa.adapt.members.pass_data.load_codes", failing)
        monkeypatch.setattr("losa.adapt.members.pass_data.choose_residency", lambda *_, **__: "ram")
        chosen, requested = sweep({"side": "linear"}, {"side": "linear", "residency": "ram", "seed": 1})
        assert chosen.residency == "stream"
        assert "residency=ram: memory does not hold the codes of 24 images after all" in str(requested)


def test_a_rank_above_the_width_is_told_once(sweep: Any, caplog: pytest.LogCaptureFixture) -> None:
    sweep({"rank": 16}, {"rank": 16, "seed": 1}, {"rank": 8}, {"side": "linear", "rank": 16})
    told = [message for message in caplog.messages if "above the width" in message]
    assert told == [
        "rank=16 is above the width of the activations: 8 already gives every update its full rank"
    ]


def test_the_folders_of_all_members_are_flushed_at_once(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr("losa.adapt.adaptation.sync_folder", flushed.append)
    outcomes = sweep(*({"seed": seed, "side": "linear", "epochs": 1} for seed in range(5)))
    assert all(isinstance(outcome, MemberSummary) for outcome in outcomes)
    folder = Path(outcomes[0].folder).parent
    assert flushed == [folder.parent, folder]


def test_a_member_waits_nine_times_for_the_disk(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(os, "fsync", waits.append)
    sweep({"side": "linear", "epochs": 1}, folder="one")
    one = len(waits)
    sweep(*({"seed": seed, "side": "linear", "epochs": 1} for seed in range(4)), folder="four")
    assert len(waits) - one == one + 3 * 9


def test_many_finished_members_are_told_in_one_line(sweep: Any, caplog: pytest.LogCaptureFixture) -> None:
    options = [{"seed": seed, "side": "linear", "epochs": 1} for seed in range(4)]
    sweep(*options[:3])
    caplog.set_level(logging.INFO)
    caplog.clear()
    sweep(*options[:3])
    assert caplog.messages == ["all 3 members are finished already (overwrite=true trains them again)"]
    caplog.clear()
    sweep(*options)
    told = "3 of 4 members are finished already (overwrite=true trains them again)"
    assert [message for message in caplog.messages if "finished already" in message] == [told]
