"""Data sets are found in folders of lists, and in folders that hold several."""

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.data_folders import find_data_folders


@pytest.fixture
def root(tmp_path):
    """Two data sets, and a folder that is none."""
    for name in ("textures", "flowers", "weights"):
        (tmp_path / name).mkdir()
    (tmp_path / "textures" / "train800.txt").write_text("a.png 0\n")
    (tmp_path / "flowers" / "Test.TXT").write_text("a.png 0\n")
    (tmp_path / "weights" / "readme.txt").write_text("no list\n")
    return tmp_path


def test_a_folder_of_several_sets_stands_for_them(root):
    found = find_data_folders([root])
    assert list(found.items()) == [("flowers", root / "flowers"), ("textures", root / "textures")]


def test_the_order_is_that_of_the_paths_and_a_set_counts_once(root):
    assert list(find_data_folders([str(root / "textures"), root])) == ["textures", "flowers"]


def test_only_some_sets(root):
    assert list(find_data_folders([root], ["textures"])) == ["textures"]


def test_a_folder_has_a_name_wherever_one_stands(root, monkeypatch):
    monkeypatch.chdir(root / "flowers")
    assert list(find_data_folders(["."])) == ["flowers"]


def test_an_unknown_name_is_refused(root):
    with pytest.raises(LosaError, match=r"--set flower: .* found flowers, textures; did you mean 'flowers'"):
        find_data_folders([root], ["flower"])


def test_two_sets_of_one_name_are_refused(root):
    other = root / "weights" / "flowers"
    other.mkdir()
    (other / "test.txt").write_text("a.png 0\n")
    with pytest.raises(LosaError, match="two data sets of one name"):
        find_data_folders([root / "flowers", other])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("weights", "neither it nor a folder in it has lists of images: expected train800.txt"),
        ("nowhere", "expected a folder, found nothing"),
        ("textures/train800.txt", "expected a folder, found a file"),
    ],
)
def test_a_path_without_data_is_refused(root, path, message):
    with pytest.raises(LosaError, match=message):
        find_data_folders([root / path])
