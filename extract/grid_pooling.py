"""Mean pooling of the grid of tokens: fewer tokens of an image, each the mean over a rectangle of patches.

Sides of the pooled grid divide those of the backbone's, so that all rectangles have one size and no patch
counts twice. The mean over the grid therefore stays what it was.
"""

import re
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import TokenLayout

Grid = tuple[int, int]
"""Height and width in tokens."""


def parse_grid(option: int | str) -> Grid:
    """Height and width of a grid, from the option.

    >>> parse_grid(7), parse_grid("7x14")
    ((7, 7), (7, 14))

    Raises:
        ValueError: it is neither a number nor two with an x between them, or a number is 0.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", str(option))
    if found is None:
        raise ValueError(f"grid={option}: expected a number (7: 7 x 7 tokens), or height and width (7x14)")
    height, width = found.groups()
    return int(height), int(width or height)


def pooled_layout(tokens: TokenLayout, grid: Grid) -> TokenLayout:
    """The layout of the tokens of a backbone after pooling to a grid, which may be their own.

    >>> pooled_layout(TokenLayout(cls=1, registers=0, grid=(14, 14)), (7, 7)).count
    50

    Raises:
        LosaError: a side of the grid does not divide that of the backbone's; the message lists those that do.
    """
    if grid == tokens.grid:
        return tokens
    if any(whole % part for whole, part in zip(tokens.grid, grid, strict=True)):
        height, width = (", ".join(map(str, _divisors(side))) for side in tokens.grid)
        possible = f"one of {height}" if height == width else f"a height of {height} and a width of {width}"
        raise LosaError(
            f"grid={grid[0]}x{grid[1]}: the grid of this backbone has {tokens.grid[0]} x {tokens.grid[1]} "
            f"tokens, which are averaged in rectangles of one size: expected for each side {possible}"
        )
    return replace(tokens, grid=grid, pooled_from=tokens.grid)


def pool_grid(
    activations: Float[Tensor, "images sites tokens width"], pooled: TokenLayout
) -> Float[Tensor, "images sites fewer_tokens width"]:
    """Average the tokens of each rectangle, in float32; prefix tokens stay.

    Args:
        activations: activations of the backbone.
        pooled: the layout of the result, as `pooled_layout` makes it.
    """
    if pooled.pooled_from is None:
        return activations
    (height, width), (rows, columns) = pooled.pooled_from, pooled.grid
    frames = activations.float().unflatten(2, (pooled.frames, pooled.prefix + height * width))
    prefix, grid = frames.split([pooled.prefix, height * width], dim=3)
    rectangles = grid.unflatten(3, (rows, height // rows, columns, width // columns))
    means = rectangles.mean(dim=(4, 6)).flatten(3, 4)
    return torch.cat([prefix, means], dim=3).flatten(2, 3)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
