"""Workers that are lost."""

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.cache_format.engines import EngineConfig, Tell, make_engine

pytest.importorskip("ray")


class Slow:
    """Tells the numbers of an item, and takes its time."""

    def __call__(self, item: list[int], tell: Tell) -> None:
        for number in item:
            tell(number)
            time.sleep(0.05)

    def rest(self, item: list[int], told: int) -> list[int]:
        return item[told:]


class Deadly(Slow):
    """Kills its own process, as the kernel does when memory is short."""

    def __call__(self, item: list[int], tell: Tell) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class DeadlyOnce(Slow):
    """Does so after its last number, unless it has done so before."""

    def __call__(self, item: list[Any], tell: Tell) -> None:
        killed = Path(item[0])
        super().__call__(item[1:], tell)
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def rest(self, item: list[Any], told: int) -> list[Any]:
        return [item[0], *item[1 + told :]]


class Broken:
    """A worker that cannot be made."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'losa'")

    def prepare(self, *_: Any) -> None: ...


@pytest.fixture
def config(ray_cluster: Any) -> EngineConfig:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return EngineConfig(kind="ray", address=ray_cluster.address)


@pytest.mark.slow
def test_a_killed_node_costs_nothing(
    config: EngineConfig, ray_cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    items = [list(range(10 * item, 10 * item + 10)) for item in range(6)]
    found: list[int] = []

    def told(item: int, number: int) -> None:
        found.append(number)
        if len(found) == 15:
            ray_cluster.kill_a_node()

    with make_engine(config, ["auto"]) as engine:
        engine.map(Slow(), items, told)
    assert Counter(found) == Counter(range(60))
    assert sum("Another one does the rest" in message for message in caplog.messages) == 1


def test_a_killed_worker_is_replaced(config: EngineConfig, tmp_path: Path) -> None:
    found: list[int] = []
    with make_engine(config, ["auto"]) as engine:
        engine.map(DeadlyOnce(), [[str(tmp_path / "killed"), 1, 2]], lambda _, number: found.append(number))
    assert found == [1, 2]


@pytest.mark.slow
def test_an_item_that_kills_its_workers_is_given_up(config: EngineConfig) -> None:
    with make_engine(config, ["auto"]) as engine, pytest.raises(LosaError) as caught:
        engine.map(Deadly(), [[1]], lambda *_: None)
    assert "3 workers were lost with the same work" in str(caught.value)
    assert "let each worker have more of a machine (engine.cpus=...)" in str(caught.value)


@pytest.mark.slow
def test_workers_that_cannot_start_are_an_error(
    config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losa.cache_format.engines.ray_engine.RayWorker", Broken)
    with make_engine(config, ["auto"]) as engine, pytest.raises(LosaError) as caught:
        engine.map(Slow(), [[1], [2]], lambda *_: None)
    assert "no worker of the Ray cluster could be started" in str(caught.value)
    assert "have to be installed on every machine" in str(caught.value)
