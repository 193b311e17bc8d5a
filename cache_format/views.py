"""Augmented views: random crops of photographs, stored in a cache as separate images.

The key of a view consists of the key of its photograph and the parameters of the crop. The key alone
therefore determines the view, and views can be added to a cache at any time. A split of views lists the
photographs of another split first, then the first view of each, then the second view of each.
"""

import re
from dataclasses import dataclass

_KEY = re.compile(r"(.+)\?view=([1-9][0-9]*)&crop=([0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?)&flip=([01])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class View:
    """Parameters from which a view of a photograph is made."""

    number: int
    """Number of the view, from 1; the photograph itself is number 0."""
    crop: float
    """Least fraction of the photograph's area that the crop keeps."""
    flip: bool
    """Whether the crop is mirrored left to right with probability 1/2."""

    def key(self, photograph: str) -> str:
        """The key of this view of a photograph.

        >>> View(number=2, crop=0.6, flip=True).key("dog/1.jpg")
        'dog/1.jpg?view=2&crop=0.6&flip=1'
        """
        return f"{photograph}?view={self.number}&crop={self.crop:g}&flip={self.flip:d}"


def parse_key(key: str) -> tuple[str, View | None]:
    """Split a key into that of the photograph and the view; the view is None for the photograph itself.

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
    """Name of the split with the given number of views of each image of another split, itself included.

    >>> views_split("train800val200", 4)
    'train800val200-views4'
    """
    return f"{split}-views{views}"


def parse_views_split(name: str) -> tuple[str, int]:
    """The split whose views a split holds, and the number of views of each image; 1 for any other split.

    >>> parse_views_split("train800val200-views4"), parse_views_split("test")
    (('train800val200', 4), ('test', 1))
    """
    found = re.fullmatch(r"(.+)-views([1-9][0-9]*)", name)
    return (name, 1) if found is None else (found[1], int(found[2]))
