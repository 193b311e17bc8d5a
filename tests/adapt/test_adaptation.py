"""From a toy cache to the files of a finished member."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import (
    CachedActivations,
    FrozenFeatures,
    Job,
    LabelledActivations,
    LabelledImages,
    MemberSummary,
    Trainer,
    adapt,
    adapt_all,
    load_side_network,
    make_group,
)
from losa.adapt.members.member_files import CONFIG_NAME, CONFUSION_NAME, METRICS_NAME, SUMMARY_NAME
from losa.adapt.members.passes import make_groups
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.members.resolution import resolved
from losa.adapt.members.summary import SharedPass
from losa.adapt.members.training_pass import TrainingPass
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.adapt.training.losses import make_objective
from losa.cache_format import Cache, CacheInUse, LosaError
from losa.cache_format.identity import TokenLayout
from losa.cache_format.storage.lock import LOCK_NAME, FileLock

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

KINDS = tuple(SIDE_NETWORKS)
RESULTS = {SUMMARY_NAME, CONFUSION_NAME, DESCRIPTION_NAME, TENSORS_NAME}
FILES = {CONFIG_NAME, METRICS_NAME, *RESULTS}


@pytest.fixture
def cache(member: Any) -> Path:
    """The toy cache of `member`."""
    return Path(member().cache)


@pytest.fixture
def run(member: Any, tmp_path: Path) -> Callable[..., MemberSummary]:
    """``run(**options)``: the summary of a member trained into ``member/``."""
    return lambda **options: adapt(member(**options), tmp_path / "member")


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize("side", KINDS)
def test_files_and_summary(side: str, member: Any, cache: Path, toy_cache: Any, tmp_path: Path) -> None:
    # All sites, and a linear probe reads the last one: options in the spelling by which members are named.
    last_only = SIDE_NETWORKS[side].reads_last_site_only
    sites = ["block.02"] if last_only else ["embed", "block.01", "block.02"]
    config = resolved(member(side=side, eval_split=["val", "test"], sites=["embed", 2]))
    folder = tmp_path / "runs" / "deep" / config.member_name
    summary = adapt(config, folder)

    assert {path.name for path in folder.iterdir()} == {*FILES, LOCK_NAME}
    assert json.loads((folder / SUMMARY_NAME).read_text()) == summary.to_json()
    assert json.loads((folder / CONFIG_NAME).read_text()) == asdict(config)

    network = load_side_network(folder).network
    assert summary.member == config.member_id
    assert (summary.side, summary.lr, summary.seed) == (side, 0.02, 0)
    assert summary.rank == (None if side in ("linear", "attentive") else 4)
    assert summary.sites == sites
    assert summary.images == {"train": 24, "val": 9, "test": 12}
    assert summary.head_parameters == network.head_parameter_count()
    assert summary.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert set(summary.accuracy) == {"val", "test"}
    assert summary.seconds >= summary.train_seconds >= 0
    peak = summary.shared_pass.peak_bytes
    assert summary.shared_pass == SharedPass(members=1, seconds=summary.seconds, peak_bytes=peak)
    assert peak is not None
    assert peak > summary.parameters * 4
    assert summary.status == "finished"
    assert (summary.epochs, summary.best_epoch, summary.best_val_accuracy) == (3, None, None)
    assert ("rank" in summary.options) == (summary.rank is not None)
    assert summary.device == "cpu"
    assert summary.folder == str(folder)
    origin = summary.cache
    assert (origin["path"], origin["dataset"], origin["backbone"]) == (str(cache), "toy", "vit_nano.toy")
    assert origin["features_sha256"] == toy_cache.features.sha256
    assert set(origin["splits"]) == {"train", "val", "test"}


def test_metrics_have_one_line_for_each_epoch(run: Any, tmp_path: Path) -> None:
    summary = run(epochs=4)
    lines = [json.loads(line) for line in (tmp_path / "member" / METRICS_NAME).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert all(set(line) == {"epoch", "lr", "train_loss", "train_accuracy", "seconds"} for line in lines)
    assert lines[-1]["train_loss"] == summary.train_loss < lines[0]["train_loss"]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


@pytest.mark.parametrize("side", KINDS)
def test_separable_classes_are_learned(side: str, run: Any) -> None:
    assert run(side=side, epochs=10, lr=0.05).accuracy["test"] > 0.9


@pytest.mark.parametrize(
    ("side", "codec"), [("losa", "float32"), ("losa", "int8"), ("last", "int8"), ("linear", "int8")]
)
def test_what_is_reported_is_the_last_epoch(
    side: str, codec: str, member: Any, toy_cache: Any, tmp_path: Path
) -> None:
    cache = Cache(replace(toy_cache, codec=codec).write(tmp_path / codec))
    config = member(cache=str(cache.path), side=side, epochs=3, optimizer="sgd", lr=0.3)
    summary = adapt(config, tmp_path / "member")
    saved = load_side_network(tmp_path / "member").network

    def labelled(split: str) -> LabelledActivations:
        opened = cache.split(split, saved.features.sites)
        labels = opened.labels("label")[:, None]
        return LabelledActivations(
            source=CachedActivations(opened, "cpu"),
            images=LabelledImages(np.arange(len(labels)), labels),
            sites=saved.features.sites,
        )

    # A training of one's own, to the last epoch, gives the tensors that were saved.
    group = make_group([0], [config], saved.features, 3, "cpu")
    group.network.load_state_dict(saved.state_dict() | dict(group.network.named_parameters()))
    objective = make_objective([3], labelled("train").images.labels, balanced=False, device="cpu")
    trainer = Trainer([group], labelled("train"), objective, config)
    for epoch in range(3):
        trainer.epoch(epoch)
    for (name, mine), theirs in zip(group.network.named_parameters(), saved.parameters(), strict=True):
        assert torch.equal(mine, theirs), name

    # And what they say to every image is what was counted.
    test = labelled("test")
    scores = saved(FrozenFeatures(test.source.read(test.images.positions).decode(slice(None))))[0]
    true, predicted = test.images.labels[:, 0], scores.argmax(dim=-1).numpy()
    pairs = Counter(zip(true.tolist(), predicted.tolist(), strict=True))
    told = json.loads((tmp_path / "member" / CONFUSION_NAME).read_text())
    assert told == {
        "classes": {"label": ["ant", "bee", "cat"]},
        "splits": {"test": {"label": [[*pair, images] for pair, images in sorted(pairs.items())]}},
    }
    assert summary.accuracy == {"test": (true == predicted).sum() / 12}


def test_a_finished_member_is_not_trained_again(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = run()
    before = modified(tmp_path / "member")
    assert run() == first
    assert modified(tmp_path / "member") == before
    assert f"{tmp_path / 'member'} is finished already (overwrite=true trains it again)" in caplog.text


def test_overwrite_trains_again(run: Any, tmp_path: Path) -> None:
    first = run()
    before = modified(tmp_path / "member")
    second = run(overwrite=True)
    after = modified(tmp_path / "member")
    assert all(after[name] > before[name] for name in FILES)
    assert second.accuracy == first.accuracy
    assert second.train_loss == first.train_loss


@pytest.mark.parametrize("change", [{"seed": 1}, {"codec": "float16"}, {"splits": {"train": 18, "test": 9}}])
def test_another_state_of_the_cache_trains_again(
    change: dict[str, Any],
    run: Any,
    cache: Path,
    toy_cache: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = run()
    cache.rename(tmp_path / "old")
    replace(toy_cache, **change).write(cache)
    second = run()
    assert second.cache != first.cache
    assert "was trained from another state of the cache; it is trained again" in caplog.text


def test_further_splits_do_not_train_again(run: Any, cache: Path, toy_cache: Any, tmp_path: Path) -> None:
    first = run()
    before = modified(tmp_path / "member")
    replace(toy_cache, splits={**toy_cache.splits, "more": 6}).write(cache)
    assert run() == first
    assert modified(tmp_path / "member") == before


@pytest.mark.parametrize("change", ["a label", "num_classes", "class names"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_other_labels_train_again(
    change: str,
    split: str,
    run: Any,
    cache: Path,
    toy_cache: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = run()
    cache.rename(tmp_path / "old")
    contents = type(toy_cache).contents

    class Relabelled(type(toy_cache)):  # type: ignore[misc]
        def contents(self, name: str) -> Any:
            found = contents(self, name)
            if change == "a label" and name == split:
                found.labels["label"][1] = 2
            return found

    relabelled = Relabelled()
    if change != "a label":
        other = (
            {"num_classes": 4, "classes": None} if change == "num_classes" else {"classes": ("a", "b", "c")}
        )
        columns = (replace(toy_cache.columns[0], **other), *toy_cache.columns[1:])
        Relabelled.columns = columns
    relabelled.write(cache)
    second = run()
    assert {name for name in first.cache if first.cache[name] != second.cache[name]} == {"labels_sha256"}
    assert "was trained from another state of the cache; it is trained again" in caplog.text


def test_the_folder_of_another_member_is_refused(run: Any, member: Any, tmp_path: Path) -> None:
    first = run()
    before = modified(tmp_path / "member")
    with pytest.raises(LosaError) as error:
        run(seed=1)
    assert str(error.value) == (
        f"{tmp_path / 'member'} holds another finished member, {member().member_name}; "
        f"this one is {member(seed=1).member_name}: choose another folder (out=... or hydra.run.dir=...), "
        "or overwrite=true"
    )
    assert modified(tmp_path / "member") == before
    assert run() == first
    assert run(seed=1, overwrite=True).member == member(seed=1).member_id


def test_a_summary_of_something_else_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "member").mkdir()
    (tmp_path / "member" / SUMMARY_NAME).write_text('{"text": "mine"}')
    with pytest.raises(LosaError, match=r"summary\.json is not the summary of a member: choose"):
        run()
    assert (tmp_path / "member" / SUMMARY_NAME).read_text() == '{"text": "mine"}'


def test_what_was_there_is_gone_before_training_begins(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    found = []

    def fail(*arguments: object) -> None:
        found.extend(path.name for path in (tmp_path / "member").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "epoch", fail)
    with pytest.raises(KeyboardInterrupt):
        run(overwrite=True)
    assert CONFIG_NAME in found
    assert not RESULTS & set(found)


def test_a_folder_in_use_is_left_alone(run: Any, tmp_path: Path) -> None:
    (tmp_path / "member").mkdir()
    lock = FileLock(tmp_path / "member")
    with pytest.raises(CacheInUse, match="another process"):
        run()
    assert modified(tmp_path / "member").keys() == {LOCK_NAME}
    lock.release()
    first = run()
    lock = FileLock(tmp_path / "member")  # which the first training has given back
    assert run() == first  # what is finished needs no lock
    lock.release()


def test_a_member_finished_meanwhile_is_not_trained_again(
    run: Any, member: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "member"
    first = run()
    content = (folder / SUMMARY_NAME).read_bytes()
    (folder / SUMMARY_NAME).unlink()

    class SlowLock(FileLock):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            (folder / SUMMARY_NAME).write_bytes(content)

    monkeypatch.setattr("losa.adapt.adaptation.FileLock", SlowLock)
    monkeypatch.setattr(TrainingPass, "run", None)
    assert run() == first


def test_the_clock_starts_behind_the_optimiser(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # What torch imports at first says nothing about the member.
    def slow(*arguments: Any) -> Any:
        time.sleep(1.5)
        return make_groups(*arguments)

    monkeypatch.setattr("losa.adapt.members.training_pass.make_groups", slow)
    assert run(epochs=1).seconds < 1.5


def test_a_member_that_diverges_with_the_last_update_has_no_summary(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = Trainer.epoch

    def diverging(trainer: Trainer, number: int, *arguments: Any) -> Any:
        found = epoch(trainer, number, *arguments)
        if number == 2:
            with torch.no_grad():
                trainer.groups[0].network.head.weight.fill_(float("inf"))
        return found

    monkeypatch.setattr(Trainer, "epoch", diverging)
    with pytest.raises(LosaError, match="scores of split 'test' are NaN or infinite"):
        run()
    assert not RESULTS & {path.name for path in (tmp_path / "member").iterdir()}


@pytest.mark.parametrize(("split", "shared"), [("val", "4 of 9"), ("train", "24 of 24"), ("test", None)])
def test_images_that_are_trained_on_and_scored_are_told(
    split: str,
    shared: str | None,
    run: Any,
    toy_cache: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    contents = type(toy_cache).contents

    class Overlapping(type(toy_cache)):  # type: ignore[misc]
        def contents(self, name: str) -> Any:
            found = contents(self, name)
            if name != "val":
                return found
            keys = [*contents(self, "train").keys[:4], *found.keys[4:]]
            return replace(found, keys=keys, labels={**found.labels})

    cache = Overlapping().write(tmp_path / "overlapping")
    run(cache=str(cache), eval_split=["test", split])
    told = [record.getMessage() for record in caplog.records if "also trained on" in record.getMessage()]
    assert told == ([] if shared is None else [f"{shared} images of {split} are also trained on"])


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_summary_trains_again(content: str, run: Any, tmp_path: Path) -> None:
    first = run()
    (tmp_path / "member" / SUMMARY_NAME).write_text(content)
    assert run().accuracy == first.accuracy


def test_a_member_that_failed_is_not_finished(run: Any, tmp_path: Path) -> None:
    run()
    with pytest.raises(LosaError) as error:
        run(norm="none", lr=1e30, overwrite=True)
    assert str(error.value).endswith(
        ": the loss became NaN or infinite in epoch 0 (lr=1e+30): use a smaller lr, or a norm (norm=frozen)"
    )
    assert not (tmp_path / "member" / SUMMARY_NAME).exists()


def test_seeds_give_other_networks(run: Any) -> None:
    losses = {run(overwrite=True, **seeds).train_loss for seeds in ({}, {"seed": 1}, {"data_seed": 1})}
    assert len(losses) == 3


def test_options_reach_the_network(run: Any, tmp_path: Path) -> None:
    run(norm="frozen", order="token_channel", bias=True, pool="mean", rank=2)
    config = load_side_network(tmp_path / "member").network.architecture
    assert (config.norm, config.order, config.bias, config.pool) == ("frozen", "token_channel", True, "mean")


def test_class_names_go_with_the_network(run: Any, tmp_path: Path) -> None:
    def classes() -> Any:
        (column,) = json.loads((tmp_path / "member" / DESCRIPTION_NAME).read_text())["outputs"]
        return column["classes"]

    run()
    assert classes() == ["ant", "bee", "cat"]
    run(label="some", overwrite=True)
    assert classes() is None


def test_images_that_are_invalid_or_without_label_are_left_out(
    member: Any, toy_cache: Any, tmp_path: Path
) -> None:
    bad = frozenset({"train/004.png", "train/005.png", "test/000.png"})
    cache = replace(toy_cache, invalid=bad).write(tmp_path / "gaps")
    config = member(cache=str(cache), label="some")
    summary = adapt(config, tmp_path / "member")
    # Every second image has a label: 12 of 24 and 6 of 12; number 5 would have had none.
    assert summary.images == {"train": 11, "test": 5}

    prepared = JobPreparer().prepare(Job(replace(config, overwrite=True), tmp_path / "member"))
    assert isinstance(prepared, PreparedJob)
    images = prepared.training
    assert images.positions.tolist() == [0, 2, *range(6, 24, 2)]
    assert images.labels.tolist() == [[position % 3] for position in images.positions]


@pytest.mark.parametrize(
    ("option", "wrong", "example"),
    [
        ("train_split", "tset", "test"),
        ("train_split", "train800val200", "train"),
        ("train_split", ["val", "vla"], "val"),
        ("eval_split", ["test", "tarin"], "train"),
        ("eval_split", "t", "test"),
        ("val_split", "val200", "val"),
    ],
)
def test_a_missing_split_is_named_with_its_option(
    option: str, wrong: str | list[str], example: str, run: Any
) -> None:
    name = wrong if isinstance(wrong, str) else wrong[1]
    message = (
        f"^the cache has no split '{name}'; it has: train, val, test. "
        f"Choose with {option}, as in {option}={example}$"
    )
    with pytest.raises(LosaError, match=message):
        run(**{option: wrong})


def test_all_missing_splits_are_named_at_once(run: Any) -> None:
    with pytest.raises(LosaError) as error:
        run(train_split="train800val200", eval_split="t")
    assert [line.rpartition(" ")[2] for line in str(error.value).splitlines()] == [
        "train_split=train",
        "eval_split=test",
    ]


def test_unknown_label_column(run: Any) -> None:
    with pytest.raises(LosaError, match=r"no label column 'lable'; it has: label, some, none, same, single$"):
        run(label="lable")


def test_a_label_column_of_one_class(run: Any) -> None:
    with pytest.raises(LosaError, match=r"label column 'single' has 1 class; .* needs at least two$"):
        run(label="single")


def test_one_class_only_in_the_training_split(run: Any) -> None:
    message = (
        "all 24 images of split 'train' have the same label in column 'same'; there is nothing to learn$"
    )
    with pytest.raises(LosaError, match=message):
        run(label="same")


def test_no_labels_at_all(run: Any, cache: Path) -> None:
    with pytest.raises(LosaError) as error:
        run(label="none")
    assert str(error.value) == (
        f"{cache}: none of the 24 images of split 'train' is readable and has a label in column 'none'"
    )


def test_a_split_without_labels_in_one_of_two_columns(run: Any) -> None:
    with pytest.raises(LosaError, match=r"of split 'train' is readable and has a label in column 'none'$"):
        run(label=["label", "none"])


def test_incomplete_cache(run: Any, toy_cache: Any, tmp_path: Path) -> None:
    cache = toy_cache.write(tmp_path / "begun", shards=3)
    with pytest.raises(LosaError, match=r"2 of 5 shards .* are missing .* run the same losa-extract command"):
        run(cache=str(cache))


def test_no_cache(run: Any, tmp_path: Path) -> None:
    with pytest.raises(LosaError, match="nowhere is not a cache: there is no such folder"):
        run(cache=str(tmp_path / "nowhere"))


def test_cls_pool_without_cls_token(run: Any, toy_cache: Any, tmp_path: Path) -> None:
    tokens = TokenLayout(cls=0, registers=0, grid=(2, 2))
    cache = replace(toy_cache, tokens=tokens).write(tmp_path / "grid")
    with pytest.raises(LosaError, match="no class token; use pool=mean or pool=auto"):
        run(cache=str(cache), pool="cls")
    assert run(cache=str(cache), pool="mean").images["train"] == 24


@pytest.mark.parametrize(("cls", "pool"), [(1, "cls"), (0, "mean")])
def test_the_pool_is_chosen_by_the_tokens(
    cls: int, pool: str, toy_cache: Any, member: Any, tmp_path: Path
) -> None:
    tokens = TokenLayout(cls=cls, registers=0, grid=(2, 2))
    cache = str(replace(toy_cache, tokens=tokens).write(tmp_path / "tokens"))
    config = member(cache=cache)
    assert config.pool == "auto"
    chosen = adapt(config, tmp_path / "auto")
    named = adapt(member(cache=cache, pool=pool), tmp_path / "named")
    assert chosen.member == named.member == member(cache=cache, pool=pool).member_id
    assert (chosen.options["pool"], chosen.train_loss) == (pool, named.train_loss)
    assert load_side_network(tmp_path / "auto").network.architecture.pool == pool
    assert json.loads((tmp_path / "auto/side_network.json").read_text())["architecture"]["pool"] == pool


def test_a_member_that_pools_cls_is_found_again_by_the_default(
    member: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = member(pool="cls")
    assert member().member_name == config.member_name
    first = adapt(config, tmp_path / "member")
    assert adapt(member(), tmp_path / "member") == first
    assert "is finished already" in caplog.text


def test_no_job_is_trained_by_another_pool_than_it_names(toy_cache: Any, member: Any, tmp_path: Path) -> None:
    tokens = TokenLayout(cls=0, registers=0, grid=(2, 2))
    cache = str(replace(toy_cache, tokens=tokens).write(tmp_path / "grid"))
    configs = [member(cache=cache, pool=pool) for pool in ("auto", "mean", "cls")]
    auto, mean, cls = adapt_all([Job(config, tmp_path / config.pool) for config in configs])
    assert isinstance(auto, MemberSummary)
    assert isinstance(mean, MemberSummary)
    assert (auto.member, auto.train_loss) == (mean.member, mean.train_loss)
    assert isinstance(cls, LosaError)
    same_folder = adapt_all([Job(config, tmp_path / "shared") for config in (configs[0], configs[2])])
    assert [type(outcome) for outcome in same_folder] == [MemberSummary, LosaError]


def test_rank_that_is_no_multiple_of_heads(run: Any) -> None:
    with pytest.raises(LosaError, match="rank=3: side=last needs a multiple of heads=2"):
        run(side="last", rank=3)


def test_unknown_site(run: Any) -> None:
    with pytest.raises(LosaError, match=r"no site 'block\.07' here; there are embed, block\.00, block\.01"):
        run(sites=["block.07"])


@pytest.mark.parametrize(
    "wrong", [{"label": "lable"}, {"side": "last", "rank": 3}, {"eval_split": "tset"}, {"sites": 99}], ids=str
)
def test_a_wrong_option_leaves_nothing_behind(wrong: dict[str, Any], run: Any, tmp_path: Path) -> None:
    with pytest.raises(LosaError):
        run(**wrong)
    assert not (tmp_path / "member").exists()
