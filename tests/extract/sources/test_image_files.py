from pathlib import Path

import pytest

from losa.extract.sources import InvalidImage
from losa.extract.sources.image_files import ImageFiles


def test_a_key_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert ImageFiles().read(str(tmp_path / "a.jpg")) == b"abc"


def test_whatever_cannot_be_read_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, reason in (
        ("none.jpg", "No such file"),
        ("loop.jpg", "Too many levels"),
        (".", "Is a directory"),
    ):
        with pytest.raises(InvalidImage, match=reason):
            ImageFiles().read(str(tmp_path / name))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InvalidImage, match=r"^Permission denied$"):
        ImageFiles().read("a.jpg")
