"""Sources of images as sources of videos."""

import tarfile

import pytest

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source


@pytest.fixture
def videos(tmp_path, film):
    for number in range(3):
        film(tmp_path / f"videos/{'run' if number else 'jump'}/{number}.mp4", frames=3, seed=number)
    (tmp_path / "videos/run/notes.txt").write_text("x")
    (tmp_path / "videos/run/1.jpg").write_bytes(b"a thumbnail")
    return tmp_path / "videos"


def opened(**options):
    return open_source(DatasetConfig(**{"name": "x", "media": "videos", **options}))


def test_a_folder_is_searched_for_videos(videos):
    source = opened(kind="folder", root=str(videos))
    assert source.contents("all").keys == ["jump/0.mp4", "run/1.mp4", "run/2.mp4"]
    assert source.contents("all").labels["label"].tolist() == [0, 1, 1]
    assert source.read("run/1.mp4") == (videos / "run/1.mp4").read_bytes()
    assert "files that are no videos that FFmpeg opens are left out: 1 .jpg, 1 .txt" in source.notes


def test_a_folder_without_videos_is_refused(tmp_path, paint):
    paint(tmp_path / "photos/1.png")
    with pytest.raises(LosaError, match=r"(?s)holds no videos \(\.3gp, .*\.webm.*1 \.png"):
        opened(kind="folder", root=str(tmp_path / "photos"))


def test_lists_name_videos(videos):
    (videos / "mine.txt").write_text("run/1.mp4 1\njump/0.mp4 0\n")
    (videos / "test.txt").write_text("run/2.mp4 1\n")
    source = opened(kind="lists", root=str(videos))
    assert source.splits == ("test", "mine")
    assert source.contents("mine").keys == ["run/1.mp4", "jump/0.mp4"]


def test_a_list_whose_first_video_is_missing_is_a_list(videos):
    (videos / "mine.txt").write_text("run/9.mp4 1\n")
    with pytest.raises(LosaError, match=r"mine\.txt, line 1: there is no file .*9\.mp4"):
        opened(kind="lists", root=str(videos)).contents("mine")


def test_a_table_names_videos(videos):
    (videos / "table.csv").write_text("path,label\nrun/1.mp4,run\njump/0.mp4,jump\n")
    source = opened(kind="table", root=str(videos), file="table.csv")
    assert source.contents("all").keys == ["run/1.mp4", "jump/0.mp4"]


@pytest.fixture
def shards(videos, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "train-0.tar", "w") as tar:
        for number, path in enumerate(sorted(videos.rglob("*.mp4"))):
            (videos / "label").write_text(str(number % 2))
            tar.add(path, f"v{number}.mp4")
            tar.add(videos / "label", f"v{number}.cls")
            tar.add(videos / "run/1.jpg", f"v{number}.jpg")
    return folder


def test_webdataset_has_mp4_members(shards, videos, tmp_path):
    options = {"kind": "webdataset", "root": str(shards), "index_folder": str(tmp_path / "indices")}
    source = opened(**options)
    contents = source.contents("train")
    assert contents.keys == [f"train-0.tar/v{number}.mp4" for number in range(3)]
    assert contents.labels["label"].tolist() == [0, 1, 0]
    assert source.read("train-0.tar/v2.mp4") == (videos / "run/2.mp4").read_bytes()
    # The index of the videos is not taken for one of the images.
    assert opened(**options, media="images").contents("train").keys[0] == "train-0.tar/v0.jpg"


@pytest.mark.parametrize(
    ("kind", "media", "message"),
    [
        ("digits", "videos", "kind digits holds images; videos can be in those of kind folder, lists, table"),
        ("huggingface", "frames", "frames can be in those of kind folder, python"),
        ("lists", "frames", "kind lists holds images or videos"),
    ],
)
def test_other_kinds_hold_images(kind, media, message):
    with pytest.raises(ValueError, match=message):
        DatasetConfig(kind=kind, name="x", media=media)
