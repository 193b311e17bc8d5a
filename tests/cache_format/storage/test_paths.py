import sys
from pathlib import Path

import pytest
from upath import UPath

from losa.cache_format import CacheError
from losa.cache_format.storage.paths import cache_folder, is_remote, shell_path


@pytest.mark.parametrize(
    "named",
    ["/data/cache", Path("/data/cache"), "file:///data/cache", "local:///data/cache", UPath("/data/cache")],
    ids=str,
)
def test_folders_of_this_machine_are_plain_paths(named):
    folder = cache_folder(named)
    assert (folder, is_remote(folder)) == (Path("/data/cache"), False)


def test_a_tilde_is_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder("~/cache") == Path("/home/somebody/cache")
    assert cache_folder("relative/cache") == Path("relative/cache")


def test_a_tilde_that_is_nobodys_home_is_a_name():
    assert cache_folder("~nobody-of-this-name/cache") == Path("~nobody-of-this-name/cache")


def test_a_path_in_a_command_is_quoted():
    assert shell_path(Path("caches/digits")) == "caches/digits"
    assert shell_path(Path("my caches/it's")) == """'my caches/it'"'"'s'"""
    assert shell_path(cache_folder("memory://a b")) == "'memory://a b'"


def test_urls_are_folders_elsewhere():
    folder = cache_folder("memory://bucket/cache")
    assert is_remote(folder)
    assert str(folder / "manifest.json") == "memory://bucket/cache/manifest.json"
    assert cache_folder(folder) is folder


@pytest.mark.parametrize("protocol", ["pigeon", "carrier-pigeon", "S3", "C"])
def test_an_unknown_protocol_is_refused_and_makes_no_folder_of_that_name(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CacheError, match=rf"^cache={protocol}://x: [Uu]nsupported filesystem: '{protocol}'"):
        cache_folder(f"{protocol}://x")
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    with pytest.raises(CacheError) as caught:
        cache_folder("gs://bucket/cache")
    assert str(caught.value) == (
        "cache=gs://bucket/cache: Please install gcsfs to access Google Storage "
        "(pip install 'losa[s3]' brings what s3:// needs)"
    )
