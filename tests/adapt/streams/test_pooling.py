"""Which tokens become the pooled vector, as weights and as a vector."""

import pytest
import torch

from losa.adapt.architecture import Pool
from losa.adapt.streams.pooling import pool_tokens, pooling_weights
from losa.cache_format.identity import TokenLayout

FRAMES = TokenLayout(cls=1, registers=1, grid=(2, 1), frames=3)
LAYOUTS = [
    TokenLayout(cls=1, registers=0, grid=(2, 3)),
    TokenLayout(cls=2, registers=3, grid=(1, 3)),
    TokenLayout(cls=0, registers=0, grid=(2, 2)),
    FRAMES,
]


def test_tokens_are_pooled_over_frames() -> None:
    # Frames begin at 0, 4 and 8; the grid of each takes its last two tokens.
    like = torch.empty(0, dtype=torch.float64)
    cls, mean = (pooling_weights(kind, FRAMES, like) for kind in ("cls", "mean"))
    torch.testing.assert_close(cls, torch.tensor([1.0, 0, 0, 0] * 3).double() / 3)
    torch.testing.assert_close(mean, torch.tensor([0.0, 0, 1, 1] * 3).double() / 6)


@pytest.mark.parametrize("tokens", LAYOUTS)
@pytest.mark.parametrize("kind", ["cls", "mean"])
def test_the_pooled_vector_is_the_weighted_sum(kind: Pool, tokens: TokenLayout) -> None:
    if kind == "cls" and not tokens.cls:
        pytest.skip("there is no class token")
    x = torch.randn(4, tokens.count, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.einsum("t,itw->iw", pooling_weights(kind, tokens, x), x)
    torch.testing.assert_close(pool_tokens(kind, tokens, x), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("tokens", LAYOUTS[:2])
def test_the_class_token_is_taken_as_it_is(tokens: TokenLayout) -> None:
    x = torch.randn(4, tokens.count, 5)
    x[:, 1:] = float("nan")
    assert torch.equal(pool_tokens("cls", tokens, x), x[:, 0])
