import errno
import os
from pathlib import Path

import pytest

from losa.cache_format.storage.atomic_writes import (
    create_folder,
    make_folder,
    publish,
    publish_together,
    publishing,
)


def test_calls_come_in_the_order_that_survives_a_power_cut(tmp_path, system_calls):
    publish(tmp_path / "file", b"12345")
    assert system_calls == [
        ("fsync", "file.tmp", 5),
        ("rename", "file.tmp", "file"),
        ("fsync", ".", "folder"),
    ]
    assert (tmp_path / "file").read_bytes() == b"12345"


def test_all_that_was_written_is_flushed_before_the_rename(tmp_path, system_calls):
    with publishing(tmp_path / "file") as file:
        for _ in range(1000):
            file.write(b"abc")
        assert not (tmp_path / "file").exists()
        assert not system_calls
    assert system_calls[:2] == [("fsync", "file.tmp", 3000), ("rename", "file.tmp", "file")]


class Crash(BaseException):
    """Like KeyboardInterrupt, not an Exception."""


def die_while_writing(path: Path) -> None:
    with publishing(path) as file:
        file.write(b"new")
        file.flush()
        raise Crash


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_crash_in_the_block_leaves_the_old_state(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        publish(path, old)
    with pytest.raises(Crash):
        die_while_writing(path)
    assert (path.read_bytes() if path.exists() else None) == old
    assert [entry.name for entry in tmp_path.iterdir()] == (["file"] if old is not None else [])


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failing_call_leaves_the_old_state(tmp_path, monkeypatch, call):
    def fail(*args):
        raise OSError(errno.EIO, "broken")

    path = tmp_path / "file"
    publish(path, b"old")
    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="broken"):
        publish(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_an_earlier_crash_left_behind_is_overwritten(tmp_path):
    (tmp_path / "file.tmp").write_bytes(b"much longer than what comes now")
    publish(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_new_folders_are_flushed_into_their_parents(tmp_path, system_calls):
    make_folder(tmp_path / "a" / "b" / "c")
    assert system_calls == [
        ("mkdir", "a"),
        ("fsync", ".", "folder"),
        ("mkdir", "a/b"),
        ("fsync", "a", "folder"),
        ("mkdir", "a/b/c"),
        ("fsync", "a/b", "folder"),
    ]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(system_calls) == 6


def test_a_created_folder_says_where_it_is_new(tmp_path, system_calls):
    assert create_folder(tmp_path / "a" / "b") == [tmp_path, tmp_path / "a"]
    assert create_folder(tmp_path / "a" / "b") == []
    assert system_calls == [("mkdir", "a"), ("mkdir", "a/b")]


def test_files_that_are_published_together_flush_their_folder_once(tmp_path, system_calls):
    publish_together(tmp_path, {"one": b"1", "two": b"22"})
    assert system_calls == [
        ("fsync", "one.tmp", 1),
        ("rename", "one.tmp", "one"),
        ("fsync", "two.tmp", 2),
        ("rename", "two.tmp", "two"),
        ("fsync", ".", "folder"),
    ]


def test_an_error_of_the_folder_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        publish(tmp_path / "file/page.html", b"")
    assert caught.value.filename == str(tmp_path / "file/page.html")


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    told = r"No space left on device: '.*/results\.json'"
    with pytest.raises(OSError, match=told), publishing(tmp_path / "results.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No such file or directory: '.*/nowhere/results\.json'"):
        publish(tmp_path / "nowhere/results.json", b"")
