"""What every engine does, with tasks that take no time."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from losa.cache_format import IdentityMismatch, LosaError
from losa.cache_format.engines import Engine, EngineConfig, LocalEngine, Stopped, Tell, make_engine
from losa.cache_format.errors import Difference

KINDS = get_args(EngineConfig.__annotations__["kind"])


class Countdown:
    """Tells the numbers of an item, each with the process it comes from."""

    def __call__(self, item: list[int], tell: Tell) -> None:
        logging.getLogger("losa.countdown").info("counting")
        for number in item:
            tell((number, os.getpid()))

    def rest(self, item: list[int], told: int) -> list[int]:
        return item[told:]


class Failing(Countdown):
    """Raises what it is given."""

    def __call__(self, item: Any, tell: Tell) -> None:
        tell("something")
        raise item


class Here(Countdown):
    def __call__(self, item: Any, tell: Tell) -> None:
        tell(Path.cwd())


class Endless(Countdown):
    """Writes down that it was stopped."""

    def __call__(self, item: Any, tell: Tell) -> None:
        try:
            while True:
                tell(0)
                time.sleep(0.01)
        except Stopped:
            Path(item).write_text("stopped")
            raise


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Every engine; that of Ray with two workers of one core."""
    if request.param == "local":
        yield LocalEngine()
        return
    cluster = request.getfixturevalue("_ray_cluster")
    from ray import cloudpickle

    # The workers do not have this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with make_engine(EngineConfig(kind="ray", address=cluster.address), ["auto"]) as entered:
        yield entered


def test_every_item_is_worked_on_and_told_in_order(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    items = [list(range(item)) for item in range(5)]
    found: dict[int, list[int]] = {item: [] for item in range(5)}
    processes, threads = set(), set()

    def told(item: int, value: tuple[int, int]) -> None:
        found[item].append(value[0])
        processes.add(value[1])
        threads.add(threading.current_thread())

    engine.map(Countdown(), items, told)
    assert list(found.values()) == items
    assert threads == {threading.main_thread()}
    assert (processes == {os.getpid()}) == engine.in_process
    assert len(processes) <= engine.workers
    assert caplog.messages.count("counting") == (5 if engine.in_process else 1)


def test_nothing_to_do(engine: Engine) -> None:
    engine.map(Countdown(), [], lambda *_: None)


def test_relative_paths_are_those_of_the_command(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    engine.map(Here(), [0], lambda _, folder: found.append(folder))
    assert found == [tmp_path]


MISMATCH = IdentityMismatch("cache", [Difference("codec", "int8", "float16")], "Choose another.")


@pytest.mark.parametrize(
    "error", [LosaError("use fewer"), MISMATCH, PermissionError(13, "Permission denied", "photo.jpg")]
)
def test_an_error_that_a_user_can_correct_arrives_as_it_was(engine: Engine, error: Exception) -> None:
    found: list[Any] = []
    with pytest.raises(type(error)) as caught:
        engine.map(Failing(), [error], lambda *told: found.append(told))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert found == [(0, "something")]


def test_a_bug_keeps_its_traceback(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        engine.map(Failing(), [ZeroDivisionError("bug")], lambda *_: None)
    assert "bug" in str(caught.value)
    assert engine.in_process or "in __call__" in str(caught.value)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_whoever_is_told_can_end_it(engine: Engine, tmp_path: Path, end: type[BaseException]) -> None:
    def told(item: int, value: int) -> None:
        raise end

    with pytest.raises(end):
        engine.map(Endless(), [str(tmp_path / "end")], told)
    # In this process the task itself has met the error.
    assert engine.in_process or (tmp_path / "end").read_text() == "stopped"


def test_the_device_of_a_worker(engine: Engine) -> None:
    assert engine.resolve_device("cpu") == "cpu"
    assert engine.resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(LosaError, match="device=gpu"):
        engine.resolve_device("gpu")
