import pytest
import torch
from torch import Tensor
from torch.nn import functional

from losa.adapt.side_networks import attention
from losa.adapt.side_networks.attention import attend, fused_attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_the_tokens_that_are_read_are_computed(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 6, 5, generator=generator, dtype=dtype).unbind()
    whole = functional.scaled_dot_product_attention(query, key, value)
    projected = torch.stack([query, key, value], dim=1).mT
    torch.testing.assert_close(attend(projected, slice(None), projected.dtype), whole.mT)
    some = attend(projected, slice(None, None, 3), projected.dtype)
    torch.testing.assert_close(some[..., ::3], whole.mT[..., ::3])
    assert not some[..., 1:3].any()
    assert not some[..., 4:].any()


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
