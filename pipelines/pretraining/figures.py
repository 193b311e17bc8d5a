"""Figures that are made up: strokes, limbs, polygons, blobs and fractals, each a class of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Point = Float[np.ndarray, "2"]
Points = Float[np.ndarray, "points 2"]
Radii = Float[np.ndarray, " points"]

SIZE = 64
"""Width and height of a field of distances."""
_EXTENT = 0.85
"""How far a figure reaches; its field covers coordinates of -1 to 1."""
_STROKE = 0.05
"""Radius of a pen."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Pieces of a pen of changing radius, from starts to ends, or of the contour of a surface."""

    starts: Points
    ends: Points
    start_radii: Radii
    end_radii: Radii
    filled: bool = False


def figure_fields(count: int, seed: int) -> Float[np.ndarray, "classes size size"]:
    """Signed distances to figures of as many classes, in turn of every family, in float32.

    A field is negative inside of its figure and covers coordinates of -1 to 1. A class is a function of the
    seed and its number alone.
    """
    fields = []
    for number in range(count):
        family = _FAMILIES[number % len(_FAMILIES)]
        fields.append(_field(_centred(family(np.random.default_rng([seed, number])))))
    return np.stack(fields)


def _field(outline: Outline) -> Float[np.ndarray, "size size"]:
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    along = outline.ends - outline.starts
    length = np.maximum((along**2).sum(-1), 1e-12)
    place = np.clip(((pixels - outline.starts) * along).sum(-1) / length, 0, 1)
    distance = np.linalg.norm(pixels - (outline.starts + place[..., None] * along), axis=-1)
    if outline.filled:
        # Even-odd rule: a ray to the right crosses the contour an odd number of times.
        (x, y), (x0, y0), (x1, y1) = pixels.T[:, 0][..., None], outline.starts.T, outline.ends.T
        rise = np.where(y1 == y0, 1e-12, y1 - y0)
        crossed = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / rise * (x1 - x0))
        inside = crossed.sum(-1) % 2 == 1
        nearest = distance.min(-1) * np.where(inside, -1, 1)
    else:
        nearest = (distance - outline.start_radii - place * (outline.end_radii - outline.start_radii)).min(-1)
    field: np.ndarray = nearest.reshape(SIZE, SIZE).astype(np.float32)
    return field


def _centred(outline: Outline) -> Outline:
    """The outline, moved and scaled so that its longer side reaches from -0.85 to 0.85."""
    radii = np.concatenate([outline.start_radii, outline.end_radii])[:, None]
    points = np.concatenate([outline.starts, outline.ends])
    low, high = (points - radii).min(0), (points + radii).max(0)
    scale = 2 * _EXTENT / max((high - low).max(), 1e-6)
    middle = (low + high) / 2
    thin = min(scale, 1.5)  # strokes of a small figure do not become bars
    return Outline(
        (outline.starts - middle) * scale,
        (outline.ends - middle) * scale,
        outline.start_radii * thin,
        outline.end_radii * thin,
        outline.filled,
    )


def _joined(paths: Sequence[Points], radii: Sequence[Radii]) -> Outline:
    """Open paths as strokes."""
    return Outline(
        np.concatenate([path[:-1] for path in paths]),
        np.concatenate([path[1:] for path in paths]),
        np.concatenate([radius[:-1] for radius in radii]),
        np.concatenate([radius[1:] for radius in radii]),
    )


def _contour(angles: Radii, radii: Radii) -> Outline:
    """A surface around the origin."""
    points = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * radii[:, None]
    none = np.zeros(len(points))
    return Outline(points, np.roll(points, -1, axis=0), none, none, filled=True)


def _curve(start: Point, control: Point, end: Point, pieces: int = 8) -> Points:
    """A quadratic Bezier curve."""
    t = np.linspace(0, 1, pieces + 1)[:, None]
    points: Points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    return points


def _glyph(rng: np.random.Generator) -> Outline:
    """Two to four curved strokes of a pen, most of which begin where an earlier one passes."""
    paths: list[Points] = []
    for _ in range(rng.integers(2, 5)):
        start = rng.uniform(-0.8, 0.8, 2)
        if paths and rng.random() < 0.7:
            earlier = paths[rng.integers(len(paths))]
            start = earlier[rng.choice([0, 4, 8])]
        end = rng.uniform(-0.8, 0.8, 2)
        while np.linalg.norm(end - start) < 0.5:
            end = rng.uniform(-0.8, 0.8, 2)
        paths.append(_curve(start, (start + end) / 2 + rng.normal(0, 0.5, 2), end))
    return _joined(paths, [np.full(len(path), _STROKE) for path in paths])


def _limbs(rng: np.random.Generator) -> Outline:
    """A body with one to six tapered limbs."""
    count = rng.integers(1, 7)
    turn = rng.uniform(0, 2 * np.pi)
    spread = rng.uniform(0.4, 1.0) * 2 * np.pi
    angles = turn + (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * spread / count
    body = rng.uniform(0.2, 0.4)
    paths, radii = [np.zeros((2, 2))], [np.full(2, body)]
    for angle in angles:
        direction = np.array([np.cos(angle), np.sin(angle)])
        length = rng.uniform(0.6, 1.2)
        bend = np.array([-direction[1], direction[0]]) * rng.normal(0, 0.15)
        path = _curve(direction * body * 0.7, direction * length / 2 + bend, direction * length)
        paths.append(path)
        radii.append(np.linspace(rng.uniform(0.08, 0.16), rng.uniform(0.03, 0.1), len(path)))
    return _joined(paths, radii)


def _polygon(rng: np.random.Generator) -> Outline:
    """A polygon or a star of three to eight corners, regular or not."""
    corners = int(rng.integers(3, 9))
    inner = rng.choice([1.0, rng.uniform(0.3, 0.8)])
    scales = [1.0] if inner == 1.0 else [1.0, inner]
    count = corners * len(scales)
    loose = rng.choice([0.0, 0.3])
    angles = (
        rng.uniform(0, 2 * np.pi) + (np.arange(count) + rng.uniform(-loose, loose, count)) * 2 * np.pi / count
    )
    return _contour(angles, np.resize(scales, count) * rng.uniform(1 - loose, 1, count))


def _blob(rng: np.random.Generator) -> Outline:
    """A smooth closed surface, by a Fourier series of its radius."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = np.arange(2, 7)[:, None]
    amplitudes = rng.normal(0, 0.5, (5, 1)) / waves
    radii = 1 + (amplitudes * np.cos(waves * angles + rng.uniform(0, 2 * np.pi, (5, 1)))).sum(0)
    return _contour(angles, np.maximum(radii, 0.15))


def _fractal(rng: np.random.Generator) -> Outline:
    """The attractor of two to four affine contractions, by the chaos game."""
    count = rng.integers(2, 5)
    maps = rng.uniform(-1, 1, (count, 2, 2))
    maps *= (rng.uniform(0.4, 0.8, count) / np.linalg.norm(maps, 2, axis=(1, 2)))[:, None, None]
    shifts = rng.uniform(-1, 1, (count, 2))
    points = np.zeros((250, 2))
    for _ in range(20):
        chosen = rng.integers(count, size=len(points))
        points = np.einsum("pij,pj->pi", maps[chosen], points) + shifts[chosen]
    radii = np.full(len(points), 0.035)
    return Outline(points, points, radii, radii)


_FAMILIES: tuple[Callable[[np.random.Generator], Outline], ...] = (
    _glyph,
    _limbs,
    _glyph,
    _polygon,
    _glyph,
    _blob,
    _fractal,
)
"""Glyphs are the richest family, and so the most frequent one."""
