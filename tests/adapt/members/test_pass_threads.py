from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from losa.adapt.members import pass_threads as module
from losa.adapt.members.pass_threads import pass_threads


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``member(threads, begun, width)``: what is read of a prepared job, on a machine with 8 cores."""
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    monkeypatch.setattr("losa.cache_format.common.threads.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    current = [6]
    monkeypatch.setattr(torch, "get_num_threads", lambda: current[-1])
    monkeypatch.setattr(torch, "set_num_threads", current.append)

    def make(threads: int | str, begun: int | None = None, width: int = 768) -> Any:
        checkpoint = None if begun is None else SimpleNamespace(progress={"threads": begun})
        return SimpleNamespace(
            config=SimpleNamespace(threads=threads, batch_size=50),
            features=SimpleNamespace(sites=("a", "b"), tokens=SimpleNamespace(count=197), width=width),
            checkpoint=checkpoint,
        )

    return make


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"threads": "auto"}, 6, id="auto"),
        pytest.param({"threads": 3}, 3, id="a number"),
        pytest.param({"threads": "auto", "width": 4}, 2, id="little work"),
        pytest.param({"threads": "auto", "begun": 2}, 2, id="resumed with the threads it was begun with"),
        pytest.param({"threads": "auto", "begun": 64}, 8, id="resumed where there are fewer cores"),
        pytest.param({"threads": 3, "begun": 2}, 3, id="resumed with a number"),
    ],
)
def test_a_pass_has_threads_of_its_own(member: Any, options: dict[str, Any], expected: int) -> None:
    with pass_threads([member(**options)], lambda: 8.0) as threads:
        assert threads == torch.get_num_threads() == expected
    assert torch.get_num_threads() == 6
