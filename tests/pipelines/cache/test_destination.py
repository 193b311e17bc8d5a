import pytest

from losa.cache_format import Cache, CacheError
from losa.pipelines.cache.destination import refuse_entangled


@pytest.fixture
def caches(tiny, tmp_path):
    """``zoo/a`` and ``zoo/b``, and the link ``link`` to ``zoo``."""
    for name in ("a", "b"):
        tiny.Recipe(codec="float16").write(tmp_path / "zoo" / name)
    (tmp_path / "link").symlink_to("zoo")
    return [Cache(tmp_path / "zoo" / name) for name in ("a", "b")]


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ("zoo/b", "that folder"),
        ("link/b/", "that folder"),
        ("zoo/b/arrays.zarr/more", "that folder"),
        ("zoo/a/../b/x", "that folder"),
        ("zoo", "a folder around it"),
        (".", "a folder around it"),
    ],
)
def test_a_destination_among_the_files_of_a_source_or_around_them(destination, place, caches, tmp_path):
    with pytest.raises(CacheError, match=f"/zoo/[ab], and its copy cannot be written into {place}: name ano"):
        refuse_entangled(tmp_path / destination, caches)


@pytest.mark.parametrize("destination", ["zoo/c", "zoo/bb", "link/c", "other/zoo"])
def test_a_destination_beside_the_sources(destination, caches, tmp_path):
    refuse_entangled(tmp_path / destination, caches)


@pytest.mark.parametrize("command_name", ["merge", "convert"])
@pytest.mark.parametrize("destination", ["zoo/a", "zoo/a/arrays.zarr/segments/more", "link"])
def test_the_commands_change_nothing(command_name, destination, caches, command, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    names = ["zoo/a", "zoo/b"] if command_name == "merge" else ["zoo/a"]
    failed = command(tmp_path, "losa-cache", command_name, *names, "--to", destination)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {destination}: a cache is read from zoo/a, and its copy")
    assert sorted(tmp_path.rglob("*")) == before
