import os
from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.predict.images import find_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.jpg", "a.jpg", "sub/c.PNG", "notes.txt", ".hidden.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_a_folder_is_searched_and_what_is_left_out_is_told(photos: Path) -> None:
    found = find_images(["photos"])
    assert found.files == ("photos/a.jpg", "photos/b.jpg", "photos/sub/c.PNG")
    assert found.notes == (
        "photos: files that are no images that Pillow opens are left out: 1 .txt",
        "photos: hidden files and folders are left out: .hidden.jpg",
    )


def test_a_file_is_taken_whatever_its_name_is(photos: Path) -> None:
    assert find_images(["photos/notes.txt", "photos/.hidden.jpg"]).files == (
        "photos/notes.txt",
        "photos/.hidden.jpg",
    )


def test_places_keep_their_order_and_no_file_comes_twice(photos: Path) -> None:
    assert find_images(["photos/b.jpg", "photos", "photos/a.jpg"]).files == (
        "photos/b.jpg",
        "photos/a.jpg",
        "photos/sub/c.PNG",
    )


def test_patterns(photos: Path) -> None:
    assert find_images(["photos/*.jpg"]).files == ("photos/a.jpg", "photos/b.jpg")
    assert find_images([f"{photos}/**/*.PNG"]).files == (f"{photos}/sub/c.PNG",)
    assert find_images(["ph*"]).files == find_images(["photos"]).files


@pytest.mark.parametrize("name", ["cat[1]*.jpg", "a.jpg?view=2&crop=0.6&flip=1", "top=3.jpg"])
def test_a_name_with_the_signs_of_something_else_is_a_name(photos: Path, name: str) -> None:
    (photos / name).touch()
    assert find_images([f"photos/{name}"]).files == (f"photos/{name}",)


def test_the_home_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos))
    assert find_images(["~/a.jpg"]).files == (str(photos / "a.jpg"),)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.jpg", r"^nowhere\.jpg: there is no such file or folder; expected images after the side"),
        ("photos/*.gif", r"^photos/\*\.gif: no file matches this pattern"),
        ("empty", "^empty holds no images"),
    ],
)
def test_a_place_without_images_is_named(photos: Path, place: str, message: str) -> None:
    (photos.parent / "empty").mkdir()
    with pytest.raises(LosaError, match=message):
        find_images(["photos", place])


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(LosaError, match=r"pipe\.png: expected a file or a folder, found a pipe or a device"):
        find_images([str(tmp_path / "pipe.png")])
