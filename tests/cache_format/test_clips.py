import pytest

from losa.cache_format.clips import (
    Clip,
    all_clips,
    clips_of_each,
    clips_split,
    parse_clip,
    parse_clips_split,
    source_key,
)
from losa.cache_format.views import View

CLIP = Clip(2, 4, 3, 3)


@pytest.mark.parametrize("video", ["a.mp4", "run/ä b.mp4", "a\nb", "a?clip=1of2&crop=1of1"])
def test_a_key_has_a_clip_and_a_clip_a_key(video):
    assert parse_clip(CLIP.key(video)) == (video, CLIP)


@pytest.mark.parametrize(
    "key",
    [
        "a.mp4",
        "a.mp4?clip=1of1&crop=1of1",
        "a.mp4?clip=3of2&crop=1of1",
        "a.mp4?clip=1of2&crop=2of1",
        "a.mp4?clip=01of2&crop=1of1",
        "a.mp4?clip=1of2",
        "?clip=1of2&crop=1of1",
    ],
)
def test_other_keys_are_those_of_whole_videos(key):
    assert parse_clip(key) == (key, Clip())
    assert source_key(key) == key


def test_the_only_clip_has_the_key_of_its_video():
    assert Clip().key("a.mp4") == "a.mp4"


def test_a_view_of_a_clip_is_of_its_video():
    key = View(1, 0.5, True).key(CLIP.key("a.mp4"))
    assert source_key(key) == "a.mp4"


def test_all_clips_come_clip_by_clip():
    keys = [clip.key("a") for clip in all_clips(2, 2)]
    assert keys == [f"a?clip={clip}of2&crop={crop}of2" for clip in (1, 2) for crop in (1, 2)]
    assert all_clips(1, 1) == [Clip()]


@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (4, 1), (1, 3), (10, 3)])
def test_a_split_of_clips_has_a_name(clips, crops):
    assert parse_clips_split(clips_split("test", clips, crops)) == ("test", clips, crops)


@pytest.mark.parametrize(
    ("keys", "clips"),
    [
        ([], 1),
        (["a.mp4", "b.mp4"], 1),
        ([clip.key(video) for video in ("a.mp4", "b.mp4") for clip in all_clips(2, 3)], 6),
        (["a.mp4?clip=1of1&crop=1of3", "a.mp4?clip=1of1&crop=2of3", "a.mp4?clip=1of1&crop=3of3"], 3),
    ],
)
def test_keys_tell_how_many_clips_a_video_has(keys, clips):
    assert clips_of_each(keys) == clips


def test_views_of_clips_are_not_averaged():
    clips = [clip.key("a.mp4") for clip in all_clips(2, 1)]
    assert clips_of_each([*clips, *(View(1, 0.5, True).key(clip) for clip in clips)]) == 1
