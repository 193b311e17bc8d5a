import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from losa.cache_format import LosaError
from losa.cache_format.clips import Clip
from losa.cache_format.identity import FrameSampling, Preprocessing
from losa.cache_format.views import View
from losa.extract.clip_loader import ClipLoader
from losa.extract.crops import crop_of
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform
from losa.extract.sources import InvalidImage, StoredFrames
from losa.extract.sources.base import hash_source
from losa.extract.views import make_view

PREPROCESSING = Preprocessing(
    input_size=(3, 16, 16),
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    crop_pct=1.0,
    crop_mode="center",
    decoding=DEFAULT_DECODING,
    sampling=FrameSampling(frames=3),
)


class OneVideo:
    """A source with one video, whatever its key."""

    def __init__(self, stored):
        self.stored = stored

    def read(self, key):
        assert "?" not in key
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored


@pytest.fixture
def data(film, tmp_path):
    return film(tmp_path / "a.mp4").read_bytes()


def loaded(stored, key="a.mp4", **options):
    return ClipLoader(OneVideo(stored), PREPROCESSING, **options).load(key)


def levels(clip):
    return [round(np.asarray(frame)[2, 2].mean() / 16) for frame in clip.frames]


def test_a_clip_has_its_frames_and_the_hash_of_its_video(data):
    clip = loaded(data)
    assert levels(clip) == [2, 6, 10]
    assert clip.source_hash == hash_source(data)
    assert (clip.turned, clip.warnings) == (False, ())
    second = loaded(data, Clip(2, 2).key("a.mp4"))
    assert levels(second) == [3, 7, 11]
    assert second.source_hash == clip.source_hash


def test_it_is_prepared_frame_by_frame(data):
    clip, transform = loaded(data), make_transform(PREPROCESSING)
    assert torch.equal(clip.prepared(transform), torch.stack([transform(frame) for frame in clip.frames]))
    assert clip.prepared(transform).shape == (3, 3, 16, 16)


def test_a_crop_is_one_window_of_all_frames(data):
    place = Clip(1, 1, 3, 3)
    whole, crop = loaded(data), loaded(data, place.key("a.mp4"))
    for frame, window in zip(whole.frames, crop.frames, strict=True):
        assert np.array_equal(np.asarray(crop_of(frame, place, (3, 16, 16))), np.asarray(window))


def test_a_view_is_one_crop_of_all_frames(data):
    key = View(1, 0.3, True).key("a.mp4")
    whole, view = loaded(data), loaded(data, key)
    assert view.frames[0].size != whole.frames[0].size
    for frame, window in zip(whole.frames, view.frames, strict=True):
        assert np.array_equal(np.asarray(make_view(frame, View(1, 0.3, True), key)), np.asarray(window))


def test_without_clips_and_views_keys_are_names_of_files(film, tmp_path, data):
    class Files:
        def read(self, key):
            return {"a?clip=1of2&crop=1of1": data}[key]

    clip = ClipLoader(Files(), PREPROCESSING, views=False, clips=False).load("a?clip=1of2&crop=1of1")
    assert levels(clip) == [2, 6, 10]


class TestFrames:
    @pytest.fixture
    def frames(self):
        return [Image.new("RGB", (24, 16), (16 * number,) * 3) for number in range(12)]

    def test_frames_that_are_images_are_sampled_alike(self, frames):
        clip = loaded(StoredFrames(tuple(frames)))
        assert levels(clip) == [2, 6, 10]

    def test_the_hash_is_of_all_frames(self, frames):
        stored = StoredFrames(tuple(frames))
        other = StoredFrames((Image.new("RGB", (24, 16), "red"), *frames[1:]))
        swapped = StoredFrames((frames[1], frames[0], *frames[2:]))
        assert len({hash_source(each) for each in (stored, other, swapped)}) == 3
        assert len(hash_source(stored)) == 16

    def test_frames_of_different_sizes_are_refused(self, frames):
        frames[6] = Image.new("RGB", (25, 16))
        with pytest.raises(InvalidImage, match="its frames have different sizes"):
            loaded(StoredFrames(tuple(frames)))

    def test_a_damaged_frame_that_is_sampled_is_refused(self, frames):
        with pytest.raises(InvalidImage, match="not an image in a format that Pillow knows"):
            loaded(StoredFrames((*frames[:6], b"damaged", *frames[7:])))

    def test_a_single_image_is_no_video(self, frames):
        with pytest.raises(InvalidImage, match="expected an encoded video or frames, found a single image"):
            loaded(frames[0])


def test_the_machine_may_be_short_of_memory(data, monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr("losa.extract.clip_loader.decode_video", short)
    with pytest.raises(LosaError, match=r"^a\.mp4: not enough memory\. The image may be whole") as caught:
        loaded(data, Clip(1, 2).key("a.mp4"))
    assert not isinstance(caught.value, InvalidImage)


def test_it_can_be_pickled(data):
    loader = ClipLoader(OneVideo(data), PREPROCESSING, 10**6)
    assert levels(pickle.loads(pickle.dumps(loader)).load("a")) == [2, 6, 10]
