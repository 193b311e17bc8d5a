"""Makes splits of clips: several clips and crops of each video of a split."""

from dataclasses import replace

import numpy as np

from losa.cache_format import SplitContents
from losa.cache_format.clips import all_clips, clips_split


def with_clips(contents: SplitContents, clips: int, crops: int) -> SplitContents:
    """The split of the clips of all videos of a split, video by video; the split itself for one of each.

    Args:
        contents: the videos.
        clips: number of clips of each video.
        crops: number of crops of each clip.
    """
    if clips == crops == 1:
        return contents
    places = all_clips(clips, crops)
    return replace(
        contents,
        name=clips_split(contents.name, clips, crops),
        keys=[clip.key(video) for video in contents.keys for clip in places],
        labels={column: np.repeat(labels, len(places)) for column, labels in contents.labels.items()},
    )
