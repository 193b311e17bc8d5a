import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from losa.adapt.members.member_files import (
    CHECKPOINT_NAME,
    CONFIG_NAME,
    DIVERGENCE_NAME,
    METRICS_NAME,
    SUMMARY_NAME,
    Checkpoint,
    MemberFiles,
)
from losa.adapt.members.summary import MemberSummary
from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format.storage.sealed_json import seal

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

ORIGIN = {"path": "cache", "features_sha256": "00", "splits": {"train": "11"}}


@pytest.fixture
def make_files(make_config: Any, tmp_path: Path) -> Callable[..., MemberFiles]:
    """``make_files(**options)``: the files of a member, always in the same folder."""
    return lambda **options: MemberFiles(tmp_path, make_config(**options))


@pytest.fixture
def files(make_files: Callable[..., MemberFiles]) -> MemberFiles:
    """The files of a member with default options."""
    return make_files()


@pytest.fixture
def checkpoint() -> Checkpoint:
    """A checkpoint after two epochs and three steps."""
    rows = torch.arange(12, dtype=torch.float32).view(3, 4)
    state = {"parameter.a": rows[1], "mean.a": rows.mT[2], "best.parameter.a": rows.clone().requires_grad_()}
    progress = {"train_loss": 0.1, "best_epoch": None, "pruned": False}
    return Checkpoint(epoch=2, step=3, micro_batch_size=8, progress=progress, state=state)


@pytest.fixture
def network(files: MemberFiles) -> MemberFiles:
    """The files of that member, its side network among them."""
    data = b"tensors"
    (files.folder / TENSORS_NAME).write_bytes(data)
    sealed = seal({"tensors_sha256": hashlib.sha256(data).hexdigest()})
    (files.folder / DESCRIPTION_NAME).write_bytes(sealed)
    return files


@pytest.fixture
def summary(files: MemberFiles, make_summary: Any) -> MemberSummary:
    """The summary of that member."""
    return make_summary(files.config, cache=ORIGIN)  # type: ignore[no-any-return]


class TestCheckpoint:
    def test_round_trip(self, files: MemberFiles, checkpoint: Checkpoint) -> None:
        assert files.read_checkpoint(ORIGIN) is None
        files.save_checkpoint(checkpoint, ORIGIN)
        found = files.read_checkpoint(ORIGIN)
        assert found is not None
        assert (found.place, found.progress) == (checkpoint.place, checkpoint.progress)
        assert found.state.keys() == checkpoint.state.keys()
        for name, value in checkpoint.state.items():
            assert torch.equal(found.state[name], value), name

    def test_the_last_one_counts(self, files: MemberFiles, checkpoint: Checkpoint) -> None:
        for epoch in (1, 2, 3):
            files.save_checkpoint(Checkpoint(epoch=epoch, progress={}, state=checkpoint.state), ORIGIN)
        found = files.read_checkpoint(ORIGIN)
        assert found is not None
        assert found.epoch == 3
        assert [path.name for path in files.folder.iterdir()] == [CHECKPOINT_NAME]

    def test_of_another_member(self, make_files: Any, checkpoint: Checkpoint) -> None:
        make_files(seed=1).save_checkpoint(checkpoint, ORIGIN)
        assert make_files(seed=2).read_checkpoint(ORIGIN) is None
        assert make_files(seed=1, checkpoint_seconds=1).read_checkpoint(ORIGIN) is not None

    @pytest.mark.parametrize("change", [{"features_sha256": "22"}, {"splits": {}}, {"more": 1}])
    def test_of_another_state_of_the_cache(
        self, change: dict[str, Any], files: MemberFiles, checkpoint: Checkpoint
    ) -> None:
        files.save_checkpoint(checkpoint, ORIGIN)
        assert files.read_checkpoint(ORIGIN | change) is None

    def test_damage_anywhere(
        self, files: MemberFiles, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        files.save_checkpoint(checkpoint, ORIGIN)
        path = files.folder / CHECKPOINT_NAME
        data = path.read_bytes()
        for place in range(len(data)):
            if data[place : place + 1] == b" ":
                continue  # the header is padded with spaces
            for bit in (1, 64):
                path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
                assert files.read_checkpoint(ORIGIN) is None, (place, data[max(0, place - 20) : place + 20])
        path.write_bytes(data)
        assert files.read_checkpoint(ORIGIN) is not None
        assert set(caplog.messages) == {f"{path} is damaged; the member is trained from the start"}

    @pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
    def test_cut_short(self, part: float, files: MemberFiles, checkpoint: Checkpoint) -> None:
        files.save_checkpoint(checkpoint, ORIGIN)
        path = files.folder / CHECKPOINT_NAME
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
        assert files.read_checkpoint(ORIGIN) is None


class TestStart:
    def test_results_of_before_are_forgotten(
        self, files: MemberFiles, checkpoint: Checkpoint, summary: MemberSummary
    ) -> None:
        files.save_checkpoint(checkpoint, ORIGIN)
        files.add_metrics({"epoch": 0})
        files.finish(summary, {})
        files.save_checkpoint(checkpoint, ORIGIN)
        files.start(0)
        assert {path.name for path in files.folder.iterdir()} == {CONFIG_NAME, METRICS_NAME}
        assert (files.folder / METRICS_NAME).read_text() == ""
        assert json.loads((files.folder / CONFIG_NAME).read_text()) == asdict(files.config)

    def test_metrics_before_the_checkpoint_stay(self, files: MemberFiles, checkpoint: Checkpoint) -> None:
        files.save_checkpoint(checkpoint, ORIGIN)
        for epoch in range(4):
            files.add_metrics({"epoch": epoch})
        with (files.folder / METRICS_NAME).open("a") as file:
            file.write('{"epoch": 4, "los')  # the process died here
        files.start(2)
        files.add_metrics({"epoch": 2})
        lines = (files.folder / METRICS_NAME).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
        assert files.read_checkpoint(ORIGIN) is not None

    def test_metrics_that_someone_removed_are_no_obstacle(self, files: MemberFiles) -> None:
        files.start(2)
        assert (files.folder / METRICS_NAME).read_text() == ""


class TestFinished:
    def test_finishing_ends_the_checkpoint(
        self, network: MemberFiles, checkpoint: Checkpoint, summary: MemberSummary
    ) -> None:
        files = network
        files.save_checkpoint(checkpoint, ORIGIN)
        files.finish(summary, {"test": {"label": [[1]]}})
        assert files.read_checkpoint(ORIGIN) is None
        assert files.read_finished(ORIGIN) == summary

    def test_a_company_keeps_its_checkpoints_until_all_are_finished(
        self, files: MemberFiles, checkpoint: Checkpoint, summary: MemberSummary
    ) -> None:
        files = replace(files, company=("a", "b"))
        files.save_checkpoint(checkpoint, ORIGIN)
        files.finish(summary, {})
        assert files.read_checkpoint(ORIGIN) is not None
        files.remove_checkpoint()
        assert files.read_checkpoint(ORIGIN) is None

    def test_another_state_of_the_cache_is_told(
        self, files: MemberFiles, summary: MemberSummary, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        files.finish(summary, {})
        assert files.read_finished(ORIGIN | {"path": "elsewhere"}) is None
        assert caplog.messages == [
            f"{files.folder} was trained from another state of the cache; it is trained again"
        ]

    @pytest.mark.parametrize("content", [{"pass": None}, {"accuracy": "high"}, {"scores": {"test": [1]}}])
    def test_a_summary_with_invalid_fields_counts_as_missing(
        self,
        content: dict[str, Any],
        files: MemberFiles,
        summary: MemberSummary,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        path = files.folder / SUMMARY_NAME
        path.write_text(json.dumps(summary.to_json() | content))
        assert files.read_finished(ORIGIN) is None
        assert caplog.messages == [f"{path} is damaged; the member is trained again"]

    @pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"member": 3, "name": null}', "[" * 99999])
    def test_what_is_no_summary_is_told(
        self, content: str, files: MemberFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = files.folder / SUMMARY_NAME
        path.write_text(content)
        assert files.read_finished(ORIGIN) is None
        assert caplog.messages == [f"{path} is damaged; the member is trained again"]

    @pytest.mark.parametrize("name", [TENSORS_NAME, DESCRIPTION_NAME])
    @pytest.mark.parametrize("damage", [None, b"", b"tensorS"])
    def test_a_member_without_its_side_network_is_not_finished(
        self,
        name: str,
        damage: bytes | None,
        network: MemberFiles,
        summary: MemberSummary,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        network.finish(summary, {})
        path = network.folder / name
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        assert network.read_finished(ORIGIN) is None
        (told,) = caplog.messages
        assert told.startswith(str(path))
        assert told.endswith("; the member is trained again")


class TestDivergence:
    def test_of_this_member_and_these_data(self, files: MemberFiles) -> None:
        assert files.read_divergence(ORIGIN) is None
        files.save_divergence("linear: the loss became NaN", ORIGIN)
        told = str(files.read_divergence(ORIGIN))
        assert told.startswith("linear: the loss became NaN. ")
        assert told.endswith("overwrite=true trains it again")
        assert files.read_divergence(ORIGIN | {"path": "elsewhere"}) is None
        assert replace(files, company=("a", "b")).read_divergence(ORIGIN) is None
        files.start(0)
        assert files.read_divergence(ORIGIN) is None

    @pytest.mark.parametrize("content", ["", "{}", "[]", "null"])
    def test_a_damaged_record_does_not_count(self, content: str, files: MemberFiles) -> None:
        (files.folder / DIVERGENCE_NAME).write_text(content)
        assert files.read_divergence(ORIGIN) is None
