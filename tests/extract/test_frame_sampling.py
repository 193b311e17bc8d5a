import pytest

from losa.cache_format.clips import Clip
from losa.cache_format.identity import FrameSampling
from losa.extract.frame_sampling import sampled_frames
from losa.extract.sources import InvalidImage


@pytest.mark.parametrize(
    ("count", "frames", "expected"),
    [
        (12, 4, [1, 4, 7, 10]),
        (12, 12, list(range(12))),
        (10, 4, [1, 3, 6, 8]),
        (12, 1, [6]),
        (1, 1, [0]),
    ],
)
def test_frames_are_spread_evenly(count, frames, expected):
    assert sampled_frames(range(count), FrameSampling(frames=frames), Clip()) == expected


def test_clips_without_a_stride_interleave():
    clips = [sampled_frames(range(12), FrameSampling(frames=3), Clip(number, 4)) for number in (1, 2, 3, 4)]
    assert sorted(frame for clip in clips for frame in clip) == list(range(12))
    assert clips[0] == [0, 4, 8]


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (Clip(), [3, 5, 7]),
        (Clip(1, 2), [0, 2, 4]),
        (Clip(2, 2), [7, 9, 11]),
        (Clip(2, 3), [3, 5, 7]),
        (Clip(1, 1, 3, 3), [3, 5, 7]),
    ],
)
def test_a_stride_places_clips_from_the_beginning_to_the_end(clip, expected):
    assert sampled_frames(range(12), FrameSampling(frames=3, stride=2), clip) == expected


@pytest.mark.parametrize("unit", [1, 1001, 3003])
@pytest.mark.parametrize("clips", [1, 3])
def test_times_that_are_rounded_change_nothing(unit, clips):
    """WebM rounds to milliseconds: frames of 30 a second last 33 or 34 of them."""
    rounded = [round(frame * 100 / 3) * unit + 77 for frame in range(100)]
    for sampling in (FrameSampling(frames=7), FrameSampling(frames=8, stride=3), FrameSampling(frames=100)):
        for number in range(1, clips + 1):
            clip = Clip(number, clips)
            assert sampled_frames(rounded, sampling, clip) == sampled_frames(range(100), sampling, clip)


def test_a_varying_rate_is_sampled_as_it_is_seen():
    """Ten frames in the first second, then one a second: most of the time, late frames are seen."""
    times = [frame * 0.1 for frame in range(10)] + [1.0 + second for second in range(10)]
    assert sampled_frames(times, FrameSampling(frames=5), Clip()) == [10, 12, 14, 16, 18]
    assert sampled_frames(times, FrameSampling(frames=4, stride=4), Clip()) == [10, 12, 15, 17]


@pytest.mark.parametrize(
    ("count", "sampling", "message"),
    [
        (3, FrameSampling(frames=4), r"it has 3 frames; a clip of frames=4 needs 4"),
        (8, FrameSampling(frames=4, stride=3), r"it has 8 frames; a clip of frames=4 stride=3 needs 10"),
        (0, FrameSampling(frames=1), r"it has 0 frames"),
    ],
)
def test_a_video_that_is_too_short_is_invalid(count, sampling, message):
    with pytest.raises(InvalidImage, match=message):
        sampled_frames(range(count), sampling, Clip())
