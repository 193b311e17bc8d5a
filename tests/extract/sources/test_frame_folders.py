import numpy as np
import pytest

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source
from losa.extract.sources import InvalidImage, StoredFrames


@pytest.fixture
def videos(tmp_path, paint):
    """Two classes: a video of eleven frames, and one of two."""
    for frame in range(11):
        paint(tmp_path / f"videos/train/run/a/f{frame}.png", frame)
    for frame in range(2):
        paint(tmp_path / f"videos/train/jump/b c/{frame:03}.png", 50 + frame)
    return tmp_path / "videos"


def opened(root):
    return open_source(DatasetConfig(kind="folder", name="x", media="frames", root=str(root)))


def test_each_folder_is_a_video(videos):
    source = opened(videos)
    assert source.splits == ("train",)
    assert source.columns[0].classes == ("jump", "run")
    contents = source.contents("train")
    assert contents.keys == ["train/jump/b c", "train/run/a"]
    assert np.array_equal(contents.labels["label"], [0, 1])


def test_frames_are_in_the_order_of_their_numbers(videos):
    stored = opened(videos).read("train/run/a")
    assert isinstance(stored, StoredFrames)
    assert stored.frames == tuple((videos / f"train/run/a/f{frame}.png").read_bytes() for frame in range(11))


def test_a_folder_whose_name_is_decomposed(tmp_path, paint):
    paint(tmp_path / "videos/a/u\u0308/1.png")
    assert len(opened(tmp_path / "videos").read("a/\u00fc").frames) == 1


def test_a_frame_that_is_gone_makes_the_video_invalid(videos):
    source = opened(videos)
    (videos / "train/run/a/f3.png").unlink()
    with pytest.raises(InvalidImage, match="No such file"):
        source.read("train/run/a")


def test_images_in_no_folder_are_refused(tmp_path, paint):
    paint(tmp_path / "videos/1.png")
    with pytest.raises(LosaError, match=r"found images in no folder: 1\.png"):
        opened(tmp_path / "videos")
