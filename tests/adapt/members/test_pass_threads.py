from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from losa.adapt import AdaptConfig
from losa.adapt.members import pass_threads as module
from losa.adapt.members.pass_threads import pass_threads
from losa.cache_format.identity import TokenLayout


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``member(threads, begun, width, side, rank)``: what is read of a job, on a machine with 8 cores."""
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    monkeypatch.setattr("losa.cache_format.common.threads.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    current = [6]
    layout = TokenLayout(cls=1, registers=0, grid=(14, 14))
    monkeypatch.setattr(torch, "get_num_threads", lambda: current[-1])
    monkeypatch.setattr(torch, "set_num_threads", current.append)

    def make(
        threads: int | str, begun: int | None = None, width: int = 768, side: str = "losa", rank: int = 8
    ) -> Any:
        checkpoint = None if begun is None else SimpleNamespace(progress={"threads": begun})
        return SimpleNamespace(
            config=SimpleNamespace(threads=threads, batch_size=50),
            features=SimpleNamespace(tokens=layout, width=width),
            architecture=AdaptConfig(cache="here", side=side, rank=rank).architecture_for(layout),
            checkpoint=checkpoint,
        )

    return make


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"threads": "auto"}, 6, id="auto"),
        pytest.param({"threads": 3}, 3, id="a number"),
        pytest.param({"threads": "auto", "width": 192}, 1, id="little work"),
        pytest.param({"threads": "auto", "width": 192, "rank": 16}, 3, id="a higher rank"),
        pytest.param({"threads": "auto", "side": "linear"}, 1, id="tokens that are pooled"),
        pytest.param({"threads": "auto", "side": "attentive"}, 3, id="heads"),
        pytest.param({"threads": "auto", "begun": 2}, 2, id="resumed with the threads it was begun with"),
        pytest.param({"threads": "auto", "begun": 64}, 8, id="resumed where there are fewer cores"),
        pytest.param({"threads": 3, "begun": 2}, 3, id="resumed with a number"),
    ],
)
def test_a_pass_has_threads_of_its_own(member: Any, options: dict[str, Any], expected: int) -> None:
    with pass_threads([member(**options)], lambda: 8.0) as threads:
        assert threads == torch.get_num_threads() == expected
    assert torch.get_num_threads() == 6


@pytest.mark.parametrize(("members", "expected"), [(1, 1), (2, 3), (4, 6)])
def test_members_of_one_network_share_the_work(member: Any, members: int, expected: int) -> None:
    several = [member(threads="auto", width=192) for _ in range(members)]
    with pass_threads([*several, member(threads="auto", width=192, side="relay")], lambda: 8.0) as threads:
        assert threads == expected
