import os

import pytest

from losa.cache_format import CacheError
from losa.cache_format.storage.removal import refuse_irremovable, remove_tree


@pytest.fixture
def folder(tmp_path):
    """A folder in which ``inner/file`` is."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "file").touch()
    return tmp_path / "folder"


def test_a_plain_folder_goes(folder):
    refuse_irremovable([folder, folder.with_name("nothing")])
    remove_tree(folder)
    remove_tree(folder)
    assert not folder.exists()


@pytest.mark.parametrize("place", [".", "inner", "inner/link"])
def test_a_link_is_refused_wherever_it_is(folder, tmp_path, place):
    elsewhere = tmp_path / "elsewhere"
    linked = folder / place
    if linked.exists():
        linked.rename(elsewhere)
    else:
        elsewhere.mkdir()
    linked.symlink_to(elsewhere)
    with pytest.raises(
        CacheError, match=rf"{linked} is a symbolic link to {elsewhere}: .*Nothing was removed"
    ):
        refuse_irremovable([folder])


def test_write_protection_is_refused(folder, monkeypatch):
    # Not by its permissions, which do not apply to root.
    protected = folder / "inner"
    monkeypatch.setattr(os, "access", lambda path, mode: path != protected)
    with pytest.raises(CacheError, match="write protected"):
        refuse_irremovable([folder])


def test_of_a_link_only_the_link_goes(folder):
    link = folder.with_name("link")
    link.symlink_to(folder)
    remove_tree(link)
    assert not link.is_symlink()
    assert (folder / "inner" / "file").exists()
