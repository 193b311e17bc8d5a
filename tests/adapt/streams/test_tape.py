import pytest
import torch

from losa.adapt.streams.tape import JoinedStack, Stack, UpdateStack


@pytest.mark.parametrize("images", [(), (4,)])
def test_a_joined_stack_holds_what_a_stack_holds(images: tuple[int, ...]) -> None:
    joined, written = JoinedStack(2), Stack(2)
    for rows in (2, 1, 3):
        part = torch.randn(3, *images, rows, 5)
        assert joined.append(part) == written.append(part)
        assert torch.equal(joined.all(), written.all())
    assert joined.rows == written.rows == 6


def test_updates_are_joined_only_while_a_graph_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(UpdateStack(1).u) is Stack
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert type(UpdateStack(1).u) is type(UpdateStack(1).v) is JoinedStack
