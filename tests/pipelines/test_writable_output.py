"""What cannot be written is refused before any work, by the name that the user gave."""

from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.replaced_file import refuse_other_file
from losa.pipelines.writable_output import refuse_unwritable, refuse_unwritable_folder

LONG = "n" * 300
REASONS = {
    "a_file/page.html": "Not a directory",
    "a_file/below/page.html": "Not a directory",
    LONG: "File name too long",
    f"{LONG}/page.html": "File name too long",
    "n" * 253: "File name too long",  # its name would fit, those of unfinished files do not
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a_file").touch()
    return tmp_path


@pytest.mark.parametrize(("name", "reason"), REASONS.items(), ids=[name[:24] for name in REASONS])
def test_the_reason_is_told(place: Path, name: str, reason: str) -> None:
    expected = f"out={place / name}: cannot be written ({reason}): choose another place"
    with pytest.raises(LosaError) as refused:
        refuse_unwritable("out=", place / name)
    assert str(refused.value) == expected
    with pytest.raises(LosaError) as refused:
        refuse_other_file("out=", place / name, lambda _: True, "anything")
    assert str(refused.value) == expected
    if name != "n" * 253:
        with pytest.raises(LosaError) as refused:
            refuse_unwritable_folder("out=", place / name)
        assert str(refused.value) == expected
    assert [path.name for path in place.iterdir()] == ["a_file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody can write to")
def test_a_folder_that_takes_no_files() -> None:
    for refuse in (refuse_unwritable, refuse_unwritable_folder):
        with pytest.raises(
            LosaError, match=r"^--out /proc/x: cannot be written \(.*\): choose another place$"
        ):
            refuse("--out ", Path("/proc/x"))


def test_nothing_is_left_of_the_attempt(place: Path) -> None:
    refuse_unwritable("out=", place / "a_file")
    for refuse in (refuse_unwritable, refuse_unwritable_folder):
        refuse("out=", place / "new/folder/page")
    (place / "old").mkdir()
    refuse_unwritable_folder("out=", place / "old")
    assert sorted(path.name for path in place.rglob("*")) == ["a_file", "old"]
