import pytest
import torch
from torch.nn import functional

from losa.cache_format import LosaError
from losa.cache_format.identity import TokenLayout
from losa.extract.grid_pooling import parse_grid, pool_grid, pooled_layout


@pytest.mark.parametrize(
    ("option", "grid"), [(7, (7, 7)), ("7", (7, 7)), ("7x7", (7, 7)), ("4x12", (4, 12)), (1, (1, 1))]
)
def test_the_option_is_one_side_or_height_and_width(option, grid):
    assert parse_grid(option) == grid


@pytest.mark.parametrize("option", [0, -7, "0x7", "7x", "x7", "7X7", "7x7x7", "7 x 7", "", "seven", "7,7"])
def test_other_options_are_refused(option):
    with pytest.raises(
        ValueError, match=r"^grid=.*: expected a number \(7: 7 x 7 tokens\), or height and width"
    ):
        parse_grid(option)


def test_a_pooled_layout_tells_what_it_was_pooled_from():
    tokens = TokenLayout(cls=1, registers=4, grid=(16, 12), frames=3)
    pooled = pooled_layout(tokens, (4, 6))
    assert pooled == TokenLayout(cls=1, registers=4, grid=(4, 6), frames=3, pooled_from=(16, 12))
    assert pooled.count == 3 * (5 + 24)
    assert pooled_layout(tokens, (16, 12)) is tokens


@pytest.mark.parametrize(
    ("whole", "grid", "expected"),
    [
        ((14, 14), (4, 4), "grid=4x4: .* has 14 x 14 .* expected for each side one of 1, 2, 7, 14$"),
        ((16, 16), (7, 7), "grid=7x7: .* has 16 x 16 .* one of 1, 2, 4, 8, 16$"),
        ((14, 14), (28, 28), "grid=28x28: .* one of 1, 2, 7, 14$"),
        ((6, 4), (3, 3), "grid=3x3: .* a height of 1, 2, 3, 6 and a width of 1, 2, 4$"),
        ((6, 4), (4, 2), "grid=4x2: "),
    ],
)
def test_a_grid_that_does_not_divide_is_refused_with_those_that_do(whole, grid, expected):
    with pytest.raises(LosaError, match=expected):
        pooled_layout(TokenLayout(cls=1, registers=0, grid=whole), grid)


@pytest.mark.parametrize("grid", [(3, 2), (1, 1), (6, 1), (2, 4)])
def test_pooling_is_that_of_torch_frame_by_frame_and_leaves_prefix_tokens(grid):
    tokens = TokenLayout(cls=1, registers=1, grid=(6, 4), frames=3)
    activations = torch.randn(2, 3, tokens.count, 5, generator=torch.Generator().manual_seed(0))
    found = pool_grid(activations, pooled_layout(tokens, grid))
    frames = activations.unflatten(2, (3, 26))
    maps = frames[:, :, :, 2:].flatten(0, 2).mT.unflatten(2, (6, 4))
    pooled = functional.avg_pool2d(maps, (6 // grid[0], 4 // grid[1])).flatten(2).mT
    expected = torch.cat([frames[:, :, :, :2], pooled.unflatten(0, (2, 3, 3))], dim=3).flatten(2, 3)
    torch.testing.assert_close(found, expected)
    assert torch.equal(found.unflatten(2, (3, -1))[:, :, :, :2], frames[:, :, :, :2])


def test_means_are_computed_in_float32():
    pooled = pooled_layout(TokenLayout(cls=0, registers=0, grid=(2, 2)), (1, 1))
    activations = torch.tensor([256.0, 1.0, 1.0, 2.0], dtype=torch.bfloat16).reshape(1, 1, 4, 1)
    assert pool_grid(activations, pooled).item() == 65.0


def test_without_pooling_nothing_changes():
    tokens = TokenLayout(cls=0, registers=0, grid=(2, 2))
    activations = torch.ones(1, 1, 4, 1, dtype=torch.bfloat16)
    assert pool_grid(activations, tokens) is activations
