"""Augmented views: random crops of photographs, kept in a cache as images of their own.

A view's key is that of its photograph and how it was made, so the key alone determines the view, and a cache
may get further views at any time. A split of views holds the photographs of another split first, then the
first view of each, then the second of each.
"""

import re
from dataclasses import dataclass

_KEY = re.compile(r"(.+)\?view=([1-9][0-9]*)&crop=([0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?)&flip=([01])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class View:
    """How a view is made of a photograph."""

    number: int
    """From 1; the photograph itself is number 0."""
    crop: float
    """Part of the photograph's area that the crop keeps at least."""
    flip: bool
    """Whether it is mirrored left to right, with even chances."""

    def key(self, photograph: str) -> str:
        """Of this view of a photograph.

        >>> View(number=2, crop=0.6, flip=True).key("dog/1.jpg")
        'dog/1.jpg?view=2&crop=0.6&flip=1'
        """
        return f"{photograph}?view={self.number}&crop={self.crop:g}&flip={self.flip:d}"


def parse_key(key: str) -> tuple[str, View | None]:
    """The key of the photograph, and which view of it this is; None for itself.

    >>> parse_key("dog/1.jpg?view=2&crop=0.6&flip=1")
    ('dog/1.jpg', View(number=2, crop=0.6, flip=True))
    >>> parse_key("dog/1.jpg")
    ('dog/1.jpg', None)
    """
    found = _KEY.fullmatch(key)
    if found is None:
        return key, None
    photograph, number, crop, flip = found.groups()
    return photograph, View(number=int(number), crop=float(crop), flip=flip == "1")


def views_split(split: str, views: int) -> str:
    """Name of the split that holds so many views, the photographs themselves included, of another's.

    >>> views_split("train800val200", 4)
    'train800val200-views4'
    """
    return f"{split}-views{views}"


def parse_views_split(name: str) -> tuple[str, int]:
    """The split whose views it holds, and how many of each image; 1 for any other split.

    >>> parse_views_split("train800val200-views4"), parse_views_split("test")
    (('train800val200', 4), ('test', 1))
    """
    found = re.fullmatch(r"(.+)-views([1-9][0-9]*)", name)
    return (name, 1) if found is None else (found[1], int(found[2]))
