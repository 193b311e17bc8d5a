from collections.abc import Callable

import numpy as np
import pytest
import torch

from losa.adapt import FeatureSpec
from losa.adapt.side_networks.head import HEAD_STD, Head
from losa.cache_format.identity import FinalNorm
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT

LAYER_NORM = FinalNorm(kind="layer_norm", eps=1e-3)
RMS_NORM = FinalNorm(kind="rms_norm", eps=1e-3)


def make_head(features: FeatureSpec, seeds: tuple[int, ...] = (0, 1)) -> Head:
    head = Head(features, 3, seeds).double()
    torch.nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(0))
    return head


@pytest.mark.parametrize("norm", [LAYER_NORM, RMS_NORM, None])
@pytest.mark.parametrize("constants", [(NORM_WEIGHT, NORM_BIAS), (NORM_WEIGHT,), ()])
def test_scores(
    norm: FinalNorm | None, constants: tuple[str, ...], make_features: Callable[..., FeatureSpec]
) -> None:
    features = make_features(norm=norm)
    for name in {NORM_WEIGHT, NORM_BIAS} - {*constants}:
        features.constants.pop(name, None)
    head = make_head(features)
    pooled = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    x = pooled.numpy()
    if norm is not None:
        centred = x - x.mean(-1, keepdims=True) if norm.kind == "layer_norm" else x
        x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
        x = x * features.constants.get(NORM_WEIGHT, 1)
        if norm.kind == "layer_norm":
            x = x + features.constants.get(NORM_BIAS, 0)
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    expected = np.stack([x[member] @ weight[member] + bias[member] for member in range(2)])

    np.testing.assert_allclose(head(pooled).detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, make_features: Callable[..., FeatureSpec]) -> None:
    head = make_head(make_features())
    pooled = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(2)).to(dtype)
    assert torch.equal(head(pooled), head(pooled.double()))


def test_only_the_linear_part_is_trained(make_features: Callable[..., FeatureSpec]) -> None:
    head = make_head(make_features())
    assert {name for name, _ in head.named_parameters()} == {"weight", "bias"}
    assert len(dict(head.named_buffers())) == 2


def test_starts_near_equal_probabilities(make_features: Callable[..., FeatureSpec]) -> None:
    head = Head(make_features(width=512), 100, (0,))
    assert head.weight.std().item() == pytest.approx(HEAD_STD, rel=0.05)
    assert not head.bias.any()


def test_constants_are_copied(make_features: Callable[..., FeatureSpec]) -> None:
    # Arrays read from a cache are not writable, and torch warns when it shares such memory.
    features = make_features()
    for array in features.constants.values():
        array.flags.writeable = False
    with torch.no_grad():
        for buffer in Head(features, 3, (0,)).buffers():
            buffer.zero_()
    assert features.constants[NORM_WEIGHT].all()
