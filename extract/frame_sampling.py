"""Which frames of a video become a clip."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from losa.cache_format.clips import Clip
from losa.cache_format.identity import FrameSampling
from losa.extract.sources.base import InvalidImage


def sampled_frames(times: Sequence[float], sampling: FrameSampling, clip: Clip) -> list[int]:
    """Positions of the frames of a clip, in their order.

    Frames are chosen by their times, so that a video whose rate varies is sampled as it is seen. Without a
    stride, the video is cut into as many pieces of equal duration as the clip has frames, and a frame is
    taken from each: from its middle for a single clip, from n places in it for n clips. With one, frames
    follow each other in steps of so many mean durations of a frame; a single clip lies in the middle of the
    video, several begin at equal distances from its beginning to its end.

    Args:
        times: when each frame is shown, in ascending order, in any unit.
        sampling: number of frames and stride.
        clip: which of how many clips.

    Raises:
        InvalidImage: the video is too short for the clip.
    """
    count, frames, stride = len(times), sampling.frames, sampling.stride
    span = frames if stride is None else (frames - 1) * stride + 1
    if count < span:
        step = "" if stride is None else f" stride={stride}"
        raise InvalidImage(f"it has {count} frames; a clip of frames={frames}{step} needs {span}")
    if stride is None:
        places = [(frame + (clip.number - 0.5) / clip.clips) * count / frames for frame in range(frames)]
        wanted = list(map(math.floor, places))
    else:
        free = count - span
        first = free // 2 if clip.clips == 1 else free * (clip.number - 1) // (clip.clips - 1)
        wanted = [first + stride * frame for frame in range(frames)]
    # The duration of the last frame is not known: the mean of the others stands for it.
    duration = (times[-1] - times[0]) / max(1, count - 1)
    # The middle of a frame, because times are rounded.
    return [max(0, bisect_right(times, times[0] + (place + 0.5) * duration) - 1) for place in wanted]
