"""A drawn data set whose label is a number: how many objects a scene has.

It stands for the structured tasks of VTAB, such as counting the objects of CLEVR. A label depends on all of
an image, and on nothing that the classes of ImageNet are about.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from losa.cache_format.common.progress import progress_bar
from losa.pipelines.bench.study.drawn_folder import refuse_used_folder, write_lists

FEWEST, MOST = 3, 10
"""Objects in a scene; the label is their number less `FEWEST`."""
SIDE = 160
"""Width and height of a scene in pixels."""
SCENES = {"train": 800, "val": 200, "test": 1000}
"""Number of scenes to train on, to choose on, and to score."""

_DETAIL = 2
"""A scene is drawn that many times larger, and made smaller, for smooth edges."""
_RADII = (0.045, 0.1)
"""Radii of objects, as fractions of the side."""
_MARGIN = 0.07
"""Least distance of objects from the edge, as a fraction of the side, because backbones crop the centre."""
_CONTRAST = 90
"""Least distance of an object's colour from the background's, in levels of RGB."""
_IMAGES = "images"

Corners = Callable[[float, float, float, float], list[tuple[float, float]]]


def draw_scenes(folder: Path, scenes: Mapping[str, int]) -> None:
    """Draw scenes in the layout of ``dataset=lists``: PNG files, and the four standard lists.

    A scene is a function of its number alone. Every number of objects is equally frequent in each of the
    three parts, to within one scene.

    Args:
        folder: a new or empty folder.
        scenes: number of scenes to train on (``train``), to choose on (``val``) and to score (``test``).

    Raises:
        LosaError: the folder is not empty.
    """
    refuse_used_folder(folder)
    (folder / _IMAGES).mkdir(parents=True)
    lines: dict[str, list[str]] = {}
    number = 0
    with progress_bar(sum(scenes.values()), "drawing", "img", leave=False) as bar:
        for part, count in scenes.items():
            labels = np.random.default_rng([number, count]).permutation(count) % (MOST - FEWEST + 1)
            lines[part] = []
            for label in labels.tolist():
                name = f"{_IMAGES}/{number:04d}.png"
                draw_scene(number, FEWEST + label).save(folder / name)
                lines[part].append(f"{name} {label}\n")
                number += 1
                bar.update()
    write_lists(folder, lines)


def draw_scene(number: int, objects: int) -> Image.Image:
    """Draw a scene of `SIDE` x `SIDE` pixels.

    Objects differ in kind, size, turn and colour, are seen after a usual crop, and do not touch each other.

    Args:
        number: determines everything but the number of objects.
        objects: how many there are.
    """
    rng = np.random.default_rng(number)
    ground = rng.uniform(40, 215, 3)
    image = _texture(rng, ground)
    pen = ImageDraw.Draw(image)
    for x, y, radius in _places(rng, objects):
        kind = list(_KINDS)[rng.integers(len(_KINDS))]
        colour = _colour_against(rng, ground)
        corners = _KINDS[kind](x, y, radius, rng.uniform(0, 2 * math.pi))
        pen.polygon(corners, fill=colour, outline=(20, 20, 20))
        if kind == "ring":
            inner = _KINDS["disc"](x, y, radius / 2, 0.0)
            pen.polygon(inner, fill=tuple(map(int, ground)), outline=(20, 20, 20))
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _texture(rng: np.random.Generator, ground: np.ndarray) -> Image.Image:
    """Smooth patches and fine grain around a colour."""
    size = SIDE * _DETAIL
    patches = Image.fromarray(_levels(ground + rng.normal(0, 22, (8, 8, 3))))
    smooth = np.asarray(patches.resize((size, size), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray(_levels(smooth + rng.normal(0, 14, (size, size, 1))))


def _levels(values: np.ndarray) -> np.ndarray:
    levels: np.ndarray = np.clip(values, 0, 255).astype(np.uint8)
    return levels


def _places(rng: np.random.Generator, objects: int) -> list[tuple[float, float, float]]:
    """Centres and radii of discs that do not touch, in pixels of the large drawing."""
    size = SIDE * _DETAIL
    places: list[tuple[float, float, float]] = []
    while len(places) < objects:
        radius = size * rng.uniform(*_RADII)
        edge = size * _MARGIN + radius
        x, y = rng.uniform(edge, size - edge, 2)
        if all(math.hypot(x - a, y - b) > 1.1 * (radius + r) for a, b, r in places):
            places.append((float(x), float(y), float(radius)))
    return places


def _colour_against(rng: np.random.Generator, ground: np.ndarray) -> tuple[int, int, int]:
    """A colour that is easily told from the background."""
    while True:
        colour = rng.uniform(0, 256, 3)
        if np.linalg.norm(colour - ground) >= _CONTRAST:
            red, green, blue = map(int, colour)
            return red, green, blue


def _polygon(points: int, inner: float | None = None) -> Corners:
    """Corners evenly spaced on a circle.

    Args:
        points: number of corners on the circle.
        inner: another corner between each two of them is at this fraction of the radius; None: there is none.
    """
    scales = [1.0] if inner is None else [1.0, inner]
    count = points * len(scales)

    def corners(x: float, y: float, radius: float, turn: float) -> list[tuple[float, float]]:
        angles = [turn + 2 * math.pi * corner / count for corner in range(count)]
        radii = [radius * scales[corner % len(scales)] for corner in range(count)]
        return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]

    return corners


_KINDS: dict[str, Corners] = {
    "disc": _polygon(24),
    "ring": _polygon(24),
    "triangle": _polygon(3),
    "square": _polygon(4),
    "star": _polygon(5, 0.45),
    "cross": _polygon(4, 0.4),
}
