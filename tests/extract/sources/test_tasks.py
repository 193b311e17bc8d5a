import shutil

import pytest

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source
from losa.extract.sources import InvalidImage


def test_an_image_is_one_row_with_a_label_for_each_task(twins, tasks):
    source = tasks(twins)
    assert [(column.name, column.num_classes) for column in source.columns] == [("count", 3), ("dist", 4)]
    contents = source.contents("val200")
    assert contents.keys == [f"images/val200/{number}.png" for number in range(3)]
    assert {name: labels.tolist() for name, labels in contents.labels.items()} == {
        "count": [0, 1, 2],
        "dist": [1, 2, 3],
    }
    assert source.read(contents.keys[0]) == (twins / "dist" / contents.keys[0]).read_bytes()


def test_an_image_that_one_task_lists_has_no_label_in_the_other(twins, tasks):
    lists = {"count": "val200/0.png 0", "dist": "val200/2.png 3\nimages/val200/0.png 1"}
    for name, content in lists.items():
        (twins / name / "train800val200.txt").unlink()
        (twins / name / "val200.txt").write_text(f"images/{content}\n")
    contents = tasks(twins).contents("val200")
    assert contents.keys == ["images/val200/0.png", "images/val200/2.png"]
    assert contents.labels["count"].tolist() == [0, -1]
    assert contents.labels["dist"].tolist() == [1, 3]
    # Then only its own file is read.
    (twins / "count/images/val200/2.png").unlink()
    assert tasks(twins).read("images/val200/2.png")


def test_a_split_that_one_task_has_is_one_without_labels_in_the_other(twins, tasks):
    (twins / "dist/extra.txt").write_text("images/extra.png 0\n")
    shutil.copy(twins / "dist/images/val200/0.png", twins / "dist/images/extra.png")
    source = tasks(twins)
    assert source.splits == ("train800", "val200", "train800val200", "extra")
    assert source.contents("extra").labels["count"].tolist() == [-1]


def test_different_images_with_one_key_are_refused(twins, tasks):
    shutil.copy(twins / "dist/images/val200/0.png", twins / "dist/images/val200/1.png")
    source = tasks(twins)
    with pytest.raises(LosaError) as caught:
        source.read("images/val200/1.png")
    assert not isinstance(caught.value, InvalidImage)
    assert str(caught.value) == (
        f"{twins}/count/images/val200/1.png and {twins}/dist/images/val200/1.png differ, so these tasks do "
        "not share their images: extract each of them by itself"
    )


def test_an_image_that_no_task_lists_is_invalid(twins, tasks):
    with pytest.raises(InvalidImage, match=r"^no task lists it$"):
        tasks(twins).read("images/other.png")


def test_an_image_in_different_splits_is_refused(twins, tasks):
    (twins / "dist/test.txt").write_text("images/val200/0.png 1\n")
    with pytest.raises(LosaError) as caught:
        tasks(twins)
    assert str(caught.value) == (
        f"image 'images/val200/0.png' is in split 'test' of {twins}/dist, but in split 'val200' of "
        f"{twins}/count: extract each of these tasks by itself"
    )


def test_a_missing_file_is_named_with_the_list_of_its_task(twins, tasks):
    (twins / "dist/images/val200/1.png").unlink()
    with pytest.raises(LosaError, match=r"twins/dist/val200\.txt, line 2: there is no file"):
        tasks(twins).contents("val200")


def test_notes_of_all_tasks_are_told(twins, tasks):
    for name in ("count", "dist"):
        (twins / name / "README.txt").write_text("read me")
    assert len(tasks(twins).notes) == 2


def test_tasks_have_to_be_named(twins):
    with pytest.raises(LosaError, match=r"dataset=t needs dataset\.tasks="):
        open_source(DatasetConfig(kind="tasks", name="t", root=str(twins)))
