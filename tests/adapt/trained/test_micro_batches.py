from typing import Any

import pytest
import torch

from losa.adapt import StackedSideNetworks, stack_side_networks
from losa.adapt.trained.micro_batches import MicroBatches


def test_a_batch_that_is_too_large_is_halved_for_good(
    make_trained: Any, make_features: Any, activations_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked = stack_side_networks({"one": make_trained("last"), "two": make_trained("losa")})
    activations = activations_of(make_features(), 7).float()
    expected = stacked(activations)
    sizes: list[int] = []
    whole = StackedSideNetworks.forward

    def forward(self: Any, part: torch.Tensor, sites: Any = None) -> Any:
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.cuda.OutOfMemoryError
        return whole(self, part, sites)

    monkeypatch.setattr(StackedSideNetworks, "forward", forward)
    compute = MicroBatches(stacked)
    for _ in range(2):
        for found, wanted in zip(compute(activations, stacked.sites), expected, strict=True):
            torch.testing.assert_close(found, wanted)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1] + [1] * 7
