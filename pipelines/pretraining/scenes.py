"""Draws scenes: a textured figure on a textured ground, warped, lit, partly hidden, blurred and noisy."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from losa.pipelines.pretraining.figures import figure_fields
from losa.pipelines.pretraining.textures import texture_tiles

POSE = 4
"""Numbers that tell the place, size and turn of a figure: x, y, logarithm of the size, sine of the angle."""
_BLURRED = ((8, 0.1), (12, 0.1), (16, 0.1))
"""Sizes that images are made smaller to and enlarged from again, each with a fraction of the images."""
_CONTRAST = 0.5
"""Least distance of a figure's colour from its ground's, in RGB of 0 to 1."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes, and what is to be told of them."""

    images: Float[Tensor, "images 3 side side"]
    """Values of 0 to 1."""
    figure: Int64[Tensor, " images"]
    """Class of the figure."""
    texture: Int64[Tensor, " images"]
    """Class of the figure's texture."""
    ground: Int64[Tensor, " images"]
    """Class of the ground's texture."""
    pose: Float[Tensor, "images 4"]
    """Place, size and turn of the figure, each of a standard deviation near 1."""
    mask: Float[Tensor, "images side side"]
    """How much of a pixel the visible figure covers, 0 to 1."""


def numbered_generator(seed: int, number: int) -> torch.Generator:
    """The generator of one of many draws, which a training that resumes can make again."""
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


class SceneDrawer:
    """Draws batches, each a function of the seed and its number alone, on one kind of machine."""

    def __init__(self, *, figures: int, textures: int, side: int, seed: int) -> None:
        """Make the figures and textures.

        Args:
            figures: classes of figures.
            textures: classes of textures.
            side: width and height of the images.
            seed: what classes there are, and what is drawn of them.
        """
        self._fields = torch.from_numpy(figure_fields(figures, seed))[:, None]
        self._tiles = torch.from_numpy(texture_tiles(textures, seed))[:, None]
        self._side = side
        self._seed = seed

    def draw(self, number: int, count: int) -> Scenes:
        """Draw a batch.

        Args:
            number: which one; together with the seed it determines the batch.
            count: images in it.
        """
        rng = numbered_generator(self._seed, number)
        figure = torch.randint(len(self._fields), (count,), generator=rng)
        texture, ground = torch.randint(len(self._tiles), (2, count), generator=rng)
        clutter = torch.rand(count, 1, 1, 1, generator=rng)
        shape, pose = self._shape(rng, figure, sizes=(0.65, 1.1))
        background = self._surface(rng, ground, clutter)
        shadow = torch.roll(_blur(shape), shifts=(2, 1), dims=(2, 3))
        background = background * (1 - 0.5 * clutter * _chance(rng, count, 0.4) * shadow)
        surface = self._surface(rng, texture, clutter, away_from=background)
        surface = surface * (1 + clutter * _relief(rng, shape))
        images = torch.lerp(background, surface, shape)
        other = torch.randint(len(self._fields), (count,), generator=rng)
        cover, _ = self._shape(rng, other, sizes=(0.2, 0.45), apart=True)
        cover = cover * (torch.rand(count, 1, 1, 1, generator=rng) < 0.3 * clutter)
        images = torch.lerp(images, self._surface(rng, torch.roll(texture, 1), clutter), cover)
        return Scenes(
            self._photographed(rng, images, clutter),
            figure,
            texture,
            ground,
            pose,
            (shape * (1 - cover))[:, 0],
        )

    def _shape(
        self, rng: torch.Generator, figure: Tensor, sizes: tuple[float, float], *, apart: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Coverage ``(images, 1, side, side)`` of turned, sheared, warped figures, and their poses."""
        count = len(figure)
        size = torch.exp(_uniform(rng, count, math.log(sizes[0]), math.log(sizes[1]))).flatten()
        turn = torch.randn(count, generator=rng) * (1.5 if apart else 0.15)
        room = 0.9 if apart else 0.3 * (1.25 - size)
        place = (torch.rand(2, count, generator=rng) * 2 - 1) * room
        stretch = torch.randn(2, count, generator=rng) * 0.12
        cos, sin = torch.cos(turn) / size, torch.sin(turn) / size
        rows = torch.stack(
            [cos * torch.exp(stretch[0]), sin + stretch[1] / size, -sin, cos * torch.exp(-stretch[0])], dim=-1
        ).view(count, 2, 2)
        shift = -(rows @ place.T[..., None])
        grid = functional.affine_grid(
            torch.cat([rows, shift], dim=2), [count, 1, self._side, self._side], align_corners=False
        )
        bend = torch.randn(count, 2, 4, 4, generator=rng) * _uniform(rng, count, 0, 0.1)
        grid = grid + functional.interpolate(
            bend, size=self._side, mode="bicubic", align_corners=False
        ).permute(0, 2, 3, 1)
        distance = functional.grid_sample(
            self._fields[figure], grid, padding_mode="border", align_corners=False
        )
        pixels = (_uniform(rng, count, -0.03, 0.07) - distance) * size.view(-1, 1, 1, 1) * self._side / 2
        pose = torch.stack([place[0] * 10, place[1] * 10, size.log() * 6 + 1, sin * size * 6], -1)
        return torch.sigmoid(pixels * _uniform(rng, count, 1.5, 5)), pose

    def _surface(
        self, rng: torch.Generator, texture: Tensor, clutter: Tensor, away_from: Tensor | None = None
    ) -> Tensor:
        """A texture around a colour; on a dark surface a bright one, and the reverse."""
        count = len(texture)
        size, turn = _uniform(rng, count, 0.4, 1.2).flatten(), torch.randn(count, generator=rng) * 0.25
        cos, sin = torch.cos(turn) * size, torch.sin(turn) * size
        shift = torch.rand(2, count, generator=rng) * 2 - 1
        rows = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], dim=-1).view(count, 2, 3)
        grid = functional.affine_grid(rows, [count, 1, self._side, self._side], align_corners=False)
        tile = functional.grid_sample(
            self._tiles[texture], grid, padding_mode="reflection", align_corners=False
        )
        colour = torch.rand(count, 3, 1, 1, generator=rng)
        if away_from is not None:
            other = away_from.mean((2, 3), keepdim=True)
            step = colour * (_CONTRAST / colour.norm(dim=1, keepdim=True)).clamp(min=1)
            colour = other + step * torch.sign(0.5 - other.mean(1, keepdim=True))
        strength = 0.3 * clutter * _chance(rng, count, 0.5)
        change = torch.randn(count, 3, 1, 1, generator=rng) * strength
        return colour + change * tile

    def _photographed(self, rng: torch.Generator, images: Tensor, clutter: Tensor) -> Tensor:
        """Light from a side, grey for some, blur, noise and exposure."""
        count = len(images)
        axis = torch.linspace(-1, 1, self._side)
        fall = torch.randn(2, count, 1, 1, 1, generator=rng) * 0.25 * clutter
        images = images * (1 + fall[0] * axis + fall[1] * axis[:, None])
        images = torch.lerp(images, images.mean(1, keepdim=True).expand_as(images), _chance(rng, count, 0.3))
        done = 0
        for side, fraction in _BLURRED:
            part = slice(done, done + int(count * fraction))
            small = functional.interpolate(images[part], size=side, mode="area")
            images[part] = functional.interpolate(small, size=self._side, mode="bicubic", align_corners=False)
            done = part.stop
        images = images + torch.randn(images.shape, generator=rng) * 0.06 * clutter
        return ((images - 0.5) * _uniform(rng, count, 0.7, 1.3) + _uniform(rng, count, 0.4, 0.6)).clamp(0, 1)


def _uniform(rng: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=rng) * (high - low) + low


def _chance(rng: torch.Generator, count: int, probability: float) -> Tensor:
    return (torch.rand(count, 1, 1, 1, generator=rng) < probability).float()


def _blur(values: Tensor) -> Tensor:
    return functional.avg_pool2d(values, 5, stride=1, padding=2, count_include_pad=False)


def _relief(rng: torch.Generator, shape: Tensor) -> Tensor:
    """Brightness of a figure that rises towards its middle, under light from a random side."""
    height = functional.pad(_blur(shape), (1, 1, 1, 1), mode="replicate")
    across = height[:, :, 1:-1, 2:] - height[:, :, 1:-1, :-2]
    down = height[:, :, 2:, 1:-1] - height[:, :, :-2, 1:-1]
    light = torch.randn(2, len(shape), 1, 1, 1, generator=rng) * 0.6
    return light[0] * across + light[1] * down
