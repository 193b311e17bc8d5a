import numpy as np
import pytest
from PIL import Image

from losa.cache_format import LosaError
from losa.cache_format.clips import Clip
from losa.cache_format.identity import FrameSampling
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.sources.lists import read_lists
from losa.extract.video_decoding import decode_video
from losa.pipelines.bench.study.drawn_directions import FRAMES, SIDE, draw_directions

COUNTS = {"train": 2, "val": 1, "test": 1}


@pytest.fixture
def photographs(tmp_path):
    """Dark ones with a bright right half."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[:, 30:] = 200 + number
        Image.fromarray(pixels).save(folder / f"{number}.png")
    for split, names in (("train800", "012"), ("val200", "3"), ("test", "4")):
        (folder / f"{split}.txt").write_text("".join(f"{name}.png 0\n" for name in names))
    return folder


def frames(folder, name):
    sampling = FrameSampling(frames=FRAMES)
    found = decode_video((folder / name).read_bytes(), sampling, Clip(), DEFAULT_DECODING, 10**6).frames
    return np.stack([np.asarray(frame) for frame in found])


def test_each_photograph_moves_to_the_left_and_to_the_right(photographs, tmp_path):
    draw_directions(photographs, tmp_path / "out", COUNTS)
    source = read_lists(tmp_path / "out")
    assert {split: len(source.keys(split)) for split in source.splits} == {
        "train800": 4,
        "val200": 2,
        "train800val200": 6,
        "test": 2,
    }
    contents = source.contents("train800val200")
    assert contents.labels["label"].tolist() == [0, 1] * 3
    left, right = (frames(tmp_path / "out", key) for key in contents.keys[:2])
    assert left.shape == (FRAMES, SIDE, SIDE, 3)
    # The same frames in opposite orders, to the bit.
    assert np.array_equal(left, right[::-1])
    # The left edge of what is not ground.
    picture = (np.abs(left.astype(int) - left[:, :1, :1]).sum(-1) > 60).any(1)
    edges = picture.argmax(1)
    assert edges[0] > 0.3 * SIDE > 0.1 * SIDE > edges[-1]
    assert (np.diff(edges) <= 0).all()


def test_too_few_photographs_and_full_folders_are_refused(photographs, tmp_path):
    with pytest.raises(LosaError, match=r"the photographs need a list train800\.txt of 4 or more"):
        draw_directions(photographs, tmp_path / "out", COUNTS | {"train": 4})
    with pytest.raises(LosaError, match="expected a new or an empty folder"):
        draw_directions(photographs, photographs, COUNTS)
