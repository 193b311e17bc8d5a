import functools

import pytest
import torch
from torch import Tensor

from losa.adapt.side_networks import dropout as of_side_networks
from losa.adapt.side_networks.dropout import Dropout, DropoutKeys

SEEDS = (3, 1, 4, 1)
RATES = (0.5, 0.0, 0.999, 0.3)


def dropped(values: Tensor, first_image: int) -> Tensor:
    keys = functools.partial(DropoutKeys(SEEDS, values.device).at, step=7)
    rates = torch.tensor(RATES, device=values.device)
    return Dropout(rates=rates, keys=keys, first_image=first_image)(values, "here")


def random_values(*shape: int, device: str) -> Tensor:
    return torch.randn(len(SEEDS), *shape, generator=torch.Generator().manual_seed(0)).to(device)


@pytest.mark.parametrize("shape", [(1, 3), (5, 8, 50), (2, 7, 3, 11), (3, 1), (4, 0)])
@pytest.mark.parametrize("first_image", [0, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_they_are_those_of_torch(
    shape: tuple[int, ...],
    first_image: int,
    dtype: torch.dtype,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = random_values(*shape, device=device).to(dtype)
    found = dropped(values, first_image)
    monkeypatch.setattr(of_side_networks, "computes_factors", lambda values: False)
    assert found.equal(dropped(values, first_image))
    assert found[1].equal(values[1])


def test_the_default_dtype_does_not_matter(device: str) -> None:
    values = random_values(3, 8, device=device)
    expected = dropped(values, 0)
    torch.set_default_dtype(torch.float64)
    try:
        assert dropped(values, 0).equal(expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_values_may_be_in_any_order(device: str) -> None:
    values = random_values(3, 8, 50, device=device).mT
    assert dropped(values, 2).equal(dropped(values.contiguous(), 2))
