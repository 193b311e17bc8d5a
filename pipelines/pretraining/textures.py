"""Textures that are made up: noise, clouds, gratings, plaids, cells and dots, each a class of its own."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Tile = Float[np.ndarray, "size size"]

SIZE = 64
"""Width and height of a tile."""


def texture_tiles(count: int, seed: int) -> Float[np.ndarray, "classes size size"]:
    """Tiles of mean 0 and standard deviation 1, in turn of every family, in float32.

    A class is a function of the seed and its number alone.
    """
    tiles = []
    for number in range(count):
        tile = _FAMILIES[number % len(_FAMILIES)](np.random.default_rng([seed, number]))
        tiles.append((tile - tile.mean()) / max(tile.std(), 1e-6))
    return np.stack(tiles).astype(np.float32)


def _noise(rng: np.random.Generator) -> Tile:
    """Noise of a band of frequencies, along a direction or in all."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    radius = np.maximum(np.hypot(fx, fy), 1e-6) * SIZE
    band = np.exp(-((np.log(radius / rng.uniform(3, 16)) / rng.uniform(0.2, 0.6)) ** 2))
    direction = np.exp(
        rng.choice([0.0, 2.0, 6.0]) * (np.cos(2 * (np.arctan2(fy, fx) - rng.uniform(0, np.pi))) - 1)
    )
    return _filtered(rng, band * direction)


def _clouds(rng: np.random.Generator) -> Tile:
    """Noise whose power falls with the frequency."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    return _filtered(rng, np.maximum(np.hypot(fx, fy), 1 / SIZE) ** -rng.uniform(0.6, 2.0))


def _filtered(rng: np.random.Generator, amplitudes: Tile) -> Tile:
    amplitudes[0, 0] = 0
    noise: Tile = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIZE, SIZE))) * amplitudes).real
    return noise


def _grating(rng: np.random.Generator) -> Tile:
    """Stripes with soft or hard edges, some of them wavy."""
    y, x = _coordinates()
    along, across = rng.integers(-7, 8), rng.integers(1, 8)
    wave = rng.choice([0.0, rng.uniform(0.3, 1.2)]) * np.sin(2 * np.pi * rng.integers(1, 4) * x)
    stripes: Tile = np.tanh(rng.uniform(0.5, 5) * np.sin(2 * np.pi * (along * x + across * y) + wave))
    return stripes


def _plaid(rng: np.random.Generator) -> Tile:
    """Two gratings, multiplied or added."""
    first, second = _grating(rng), _grating(rng)
    plaid: Tile = first * second if rng.random() < 0.5 else first + second
    return plaid


def _cells(rng: np.random.Generator) -> Tile:
    """Voronoi cells: distances to the nearest of some points, or the borders between their cells."""
    y, x = _coordinates()
    points = rng.uniform(0, 1, (rng.integers(8, 50), 2))
    dx, dy = (np.abs(axis[..., None] - place) for axis, place in zip((x, y), points.T, strict=True))
    distances = np.sort(np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy)), axis=-1)
    return (
        distances[..., 0] if rng.random() < 0.5 else np.minimum(distances[..., 1] - distances[..., 0], 0.05)
    )


def _dots(rng: np.random.Generator) -> Tile:
    """A lattice of dots or rings, rows of which may be shifted."""
    y, x = _coordinates()
    across, down = rng.integers(3, 9), 2 * rng.integers(2, 5)
    row = np.floor(y * down)
    u, v = (x * across + row % 2 * rng.choice([0.0, 0.5])) % 1 - 0.5, (y * down) % 1 - 0.5
    radius = rng.uniform(0.15, 0.4)
    distance = np.hypot(u, v)
    edge = distance if rng.random() < 0.6 else np.abs(distance - radius) + radius - 0.1
    dots: Tile = np.tanh(8 * (radius - edge))
    return dots


def _coordinates() -> tuple[Tile, Tile]:
    axis = np.arange(SIZE) / SIZE
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


_FAMILIES: tuple[Callable[[np.random.Generator], Tile], ...] = (
    _noise,
    _grating,
    _clouds,
    _plaid,
    _cells,
    _dots,
)
