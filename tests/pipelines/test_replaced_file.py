from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.replaced_file import refuse_other_file, refuse_unwritable


def test_a_file_that_can_be_written_is_not_made(tmp_path: Path) -> None:
    refuse_unwritable("out=", tmp_path / "new/folder/file.csv")
    assert not list(tmp_path.iterdir())


def test_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_unwritable("out=", Path("file.csv"))
    refuse_unwritable("out=", Path("new/file.csv"))


@pytest.mark.parametrize("names", [["x" * 254], ["new", "x" * 254], ["x" * 256, "file.csv"]])
def test_a_name_that_is_too_long(names: list[str], tmp_path: Path) -> None:
    path = tmp_path.joinpath(*names)
    for refuse in (
        lambda: refuse_unwritable("out=", path),
        lambda: refuse_other_file("out=", path, lambda _: True, "anything"),
    ):
        with pytest.raises(LosaError) as caught:
            refuse()
        assert str(caught.value) == f"out={path}: nothing can be written there (File name too long)"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LosaError, match=r"^out=.*file/file.csv: nothing can be written there \(Not a dir"):
        refuse_unwritable("out=", tmp_path / "file/file.csv")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no folder that takes no files")
def test_a_folder_that_takes_no_files() -> None:
    with pytest.raises(LosaError, match=r"^out=/proc/file.csv: nothing can be written there \(.*\)$"):
        refuse_unwritable("out=", Path("/proc/file.csv"))
