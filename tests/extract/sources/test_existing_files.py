import os

import pytest

from losa.cache_format import LosaError
from losa.extract.sources.existing_files import ExistingFiles


def test_files_exist_and_folders_and_broken_links_do_not(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/1.png").write_bytes(b"x")
    (tmp_path / "a/linked.png").symlink_to(tmp_path / "a/1.png")
    (tmp_path / "a/broken.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "a/itself.png").symlink_to("itself.png")
    (tmp_path / "2.png").write_bytes(b"x")
    existing = ExistingFiles(tmp_path)
    asked = [
        "2.png",
        "a/1.png",
        "a/linked.png",
        "a/broken.png",
        "a/itself.png",
        "a/b",
        "c/1.png",
        "2.png/1.png",
        ".",
    ]
    assert [path for path in asked if path in existing] == ["2.png", "a/1.png", "a/linked.png"]


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    (tmp_path / "1.png").write_bytes(b"x")
    existing = ExistingFiles(tmp_path)
    assert "1.png" in existing
    monkeypatch.delattr(os, "scandir")
    assert "1.png" in existing
    assert "2.png" not in existing


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refusing(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(LosaError, match=r"/a: this folder cannot be listed \(Permission denied\)"):
        _ = "a/1.png" in ExistingFiles(tmp_path)
