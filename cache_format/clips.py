"""Clips of videos, stored in a cache as separate images.

The key of a clip consists of the key of its video and of the place of the clip: which of how many, evenly
spaced in time, and which of how many crops, evenly spaced along the longer side of the frames. The one clip
from the middle of a video, uncropped, has the key of the video. A split of clips lists those of the first
video, then those of the second, and so on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from losa.cache_format.views import parse_key

_KEY = re.compile(r"(.+)\?clip=([1-9][0-9]*)of([1-9][0-9]*)&crop=([1-9][0-9]*)of([1-9][0-9]*)", re.DOTALL)
_SPLIT = re.compile(r"(.+)-clips([1-9][0-9]*)x([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Clip:
    """The place of a clip in its video: one of some clips, and one of some crops."""

    number: int = 1
    """Number of the clip, from 1."""
    clips: int = 1
    """How many clips the video has."""
    crop: int = 1
    """Number of the crop, from 1."""
    crops: int = 1
    """How many crops each clip has; 1: the frames are not cropped."""

    def key(self, video: str) -> str:
        """The key of this clip of a video.

        >>> Clip(2, 4, 1, 3).key("run/1.mp4"), Clip().key("run/1.mp4")
        ('run/1.mp4?clip=2of4&crop=1of3', 'run/1.mp4')
        """
        if self.clips == self.crops == 1:
            return video
        return f"{video}?clip={self.number}of{self.clips}&crop={self.crop}of{self.crops}"


def all_clips(clips: int, crops: int) -> list[Clip]:
    """Every clip in every crop, clip by clip."""
    return [
        Clip(number, clips, crop, crops) for number in range(1, clips + 1) for crop in range(1, crops + 1)
    ]


def parse_clip(key: str) -> tuple[str, Clip]:
    """Split a key into that of the video and the place of the clip.

    >>> parse_clip("run/1.mp4?clip=2of4&crop=1of3")
    ('run/1.mp4', Clip(number=2, clips=4, crop=1, crops=3))
    >>> parse_clip("run/1.mp4")
    ('run/1.mp4', Clip(number=1, clips=1, crop=1, crops=1))
    """
    found = _KEY.fullmatch(key)
    if found is None:
        return key, Clip()
    number, clips, crop, crops = map(int, found.groups()[1:])
    if number > clips or crop > crops or clips == crops == 1:
        return key, Clip()
    return found[1], Clip(number, clips, crop, crops)


def clips_of_each(keys: Sequence[str]) -> int:
    """Number of clips of each video, all crops counted, in a split of clips; 1 for any other split.

    >>> clips_of_each(["1.mp4?clip=1of2&crop=1of1", "1.mp4?clip=2of2&crop=1of1"]), clips_of_each(["1.mp4"])
    (2, 1)
    """
    # The last one, because a split of views begins with what the views were made of.
    place = parse_clip(keys[-1])[1] if keys else Clip()
    return place.clips * place.crops


def source_key(key: str) -> str:
    """The key by which a data set knows what a clip or a view was made of.

    >>> source_key("run/1.mp4?clip=2of4&crop=1of1?view=1&crop=0.6&flip=0"), source_key("dog.jpg")
    ('run/1.mp4', 'dog.jpg')
    """
    return parse_clip(parse_key(key)[0])[0]


def clips_split(split: str, clips: int, crops: int) -> str:
    """Name of the split with the given clips and crops of each video of another split.

    >>> clips_split("test", 4, 3), clips_split("test", 1, 1)
    ('test-clips4x3', 'test')
    """
    return split if clips == crops == 1 else f"{split}-clips{clips}x{crops}"


def parse_clips_split(name: str) -> tuple[str, int, int]:
    """The split whose clips a split holds, and the numbers of clips and of crops; 1 and 1 for any other.

    >>> parse_clips_split("test-clips4x3"), parse_clips_split("test")
    (('test', 4, 3), ('test', 1, 1))
    """
    found = _SPLIT.fullmatch(name)
    return (name, 1, 1) if found is None else (found[1], int(found[2]), int(found[3]))
