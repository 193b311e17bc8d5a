"""Sweeps on an engine: results do not depend on where members are trained, or who is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from losa.adapt import Job, MemberSummary, adapt_all
from losa.cache_format import LosaError
from losa.cache_format.engines import EngineConfig, make_engine

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

OPTIONS: list[dict[str, Any]] = [{}, {"seed": 1}, {"side": "linear"}, {"rank": 2}, {"data_seed": 1}]


class Recorder:
    """A `TrainingListener` that keeps what it is told."""

    def __init__(self) -> None:
        self.starts = 0
        self.epochs: list[tuple[str, int]] = []
        self.scored: list[str] = []

    def training_starts(self) -> None:
        self.starts += 1

    def epoch_ended(self, first: str, epoch: int, metrics: Any) -> None:
        self.epochs += [(name, epoch) for name in metrics]

    def members_scored(self, first: str, summaries: Any) -> None:
        self.scored += [summary.name for summary in summaries]


@pytest.fixture
def on_ray(member: Any, ray_cluster: Any, tmp_path: Path) -> Any:
    """``on_ray(listener, {option: value}, ...)``: outcomes of members trained by two workers, in ``ray/``."""
    config = EngineConfig(kind="ray", address=ray_cluster.address)

    def run(listener: Any, *options: dict[str, Any]) -> list[Any]:
        configs = [member(engine=config, **each) for each in options]
        jobs = [Job(each, tmp_path / "ray" / each.member_name) for each in configs]
        with make_engine(config, ["auto"]) as engine:
            return adapt_all(jobs, listener, engine)

    return run


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    """Up to the rounding that depends on the company of a member in its pass."""
    for mine, theirs in zip(found, expected, strict=True):
        assert isinstance(mine, MemberSummary), mine
        assert (mine.member, mine.accuracy, mine.epochs) == (theirs.member, theirs.accuracy, theirs.epochs)
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        tensors = [load_file(Path(each.folder) / "side_network.safetensors") for each in (mine, theirs)]
        for name, value in tensors[0].items():
            assert torch.allclose(value, tensors[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_sweep_is_divided_and_its_results_are_the_same(
    on_ray: Any, sweep: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder()
    wrong = {"lr": 1e30, "norm": "none", "seed": 7}
    found = on_ray(recorder, *OPTIONS, wrong)
    names = {outcome.name for outcome in found[:-1]}
    assert_equal(found[:-1], sweep(*OPTIONS))
    assert isinstance(found[-1], LosaError)
    assert "the loss became NaN or infinite" in str(found[-1])
    assert len({outcome.shared_pass.members for outcome in found[:-1]}) > 1  # not all in one pass
    assert recorder.starts == 1
    assert sorted(recorder.epochs) == sorted((name, epoch) for name in names for epoch in range(3))
    assert set(recorder.scored) == names
    bars = [line for line in capfd.readouterr().err.splitlines() if line.startswith("6 members: 100%")]
    assert len(bars) == 1
    assert "6 of 6 members" in bars[0]
    assert on_ray(Recorder(), *OPTIONS) == found[:-1]  # finished


@pytest.mark.slow
def test_a_killed_node_costs_the_time_since_the_last_checkpoint(
    on_ray: Any, sweep: Any, ray_cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    options = [each | {"epochs": 40, "checkpoint_seconds": 0.2} for each in OPTIONS]

    class Killer(Recorder):
        """Kills a node as soon as both have trained a few epochs."""

        killed = False

        def epoch_ended(self, first: str, epoch: int, metrics: Any) -> None:
            super().epoch_ended(first, epoch, metrics)
            if not self.killed and len({name for name, epoch in self.epochs if epoch == 5}) == len(OPTIONS):
                self.killed = True
                ray_cluster.kill_a_node()

    killer = Killer()
    found = on_ray(killer, *options)
    assert killer.killed
    assert sum("Another one does the rest" in message for message in caplog.messages) == 1
    assert_equal(found, sweep(*options))
    for outcome in found:
        lines = (Path(outcome.folder) / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(40))
    assert len(killer.epochs) < 2 * 40 * len(OPTIONS)


def test_an_engine_that_is_not_given_is_missed(member: Any, tmp_path: Path) -> None:
    config = member(engine=EngineConfig(kind="ray"))
    with pytest.raises(LosaError, match="engine=ray: expected an engine"):
        adapt_all([Job(config, tmp_path / "a")])
    assert not (tmp_path / "a").exists()
