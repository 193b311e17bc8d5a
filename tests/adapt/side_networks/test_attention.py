import pytest
import torch
from torch import Tensor
from torch.nn import functional

from losa.adapt.side_networks import attention
from losa.adapt.side_networks.attention import attend, fused_attention


def test_only_the_tokens_that_are_read_are_computed() -> None:
    query, key, value = torch.randn(3, 2, 4, 6, 5, generator=torch.Generator().manual_seed(0)).unbind()
    whole = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend(query, key, value, slice(None), torch.float32), whole)
    some = attend(query, key, value, slice(None, None, 3), torch.float32)
    torch.testing.assert_close(some[:, :, ::3], whole[:, :, ::3])
    assert not some[:, :, 1:3].any()
    assert not some[:, :, 4:].any()


@pytest.mark.parametrize("channels", [2, 5, 8])
def test_channels_that_are_added_change_nothing(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    arguments = torch.randn(3, 2, 4, 6, channels, generator=generator, dtype=torch.float64).unbind()
    padded, plain = ([each.clone().requires_grad_() for each in arguments] for _ in range(2))
    found, expected = fused_attention(*padded, 8), functional.scaled_dot_product_attention(*plain)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    found.square().sum().backward()
    expected.square().sum().backward()
    for mine, theirs in zip(padded, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-12)


def test_a_launch_has_a_limited_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = torch.randn(3, 7, 4, 6, 8, generator=torch.Generator().manual_seed(0)).unbind()
    whole = functional.scaled_dot_product_attention(query, key, value)
    launch, rows = functional.scaled_dot_product_attention, []

    def launched(query: Tensor, *arguments: Tensor, **options: float) -> Tensor:
        rows.append(query.shape[0] * query.shape[1])
        return launch(query, *arguments, **options)

    monkeypatch.setattr(attention, "MOST_ROWS", 15)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", launched)
    torch.testing.assert_close(fused_attention(query, key, value, 1), whole)
    assert rows == [12, 12, 4]


@pytest.mark.parametrize(
    ("tokens", "channels", "computed"), [(127, 2, 2), (128, 2, 16), (128, 1, 1), (128, 20, 32)]
)
def test_a_cpu_is_given_more_channels_if_there_are_many_tokens(
    tokens: int, channels: int, computed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = torch.randn(3, 2, 4, tokens, channels).unbind()
    whole = functional.scaled_dot_product_attention(query, key, value)
    launch, given = functional.scaled_dot_product_attention, []

    def launched(query: Tensor, *arguments: Tensor, **options: float) -> Tensor:
        given.append(query.shape[-1])
        return launch(query, *arguments, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", launched)
    torch.testing.assert_close(attend(query, key, value, slice(None), torch.float32), whole)
    assert given == [computed]
