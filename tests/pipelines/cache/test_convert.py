from dataclasses import replace

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError, IdentityMismatch, LosaError
from losa.cache_format.shards.commit import Commit
from losa.pipelines.cache.convert import Conversion


def quiet(done: int, total: int) -> None:
    assert done <= total


def codes(cache: Cache, split: str, sites=None):
    opened = cache.split(split, sites)
    return opened.read(np.arange(len(opened)))


@pytest.mark.parametrize("compressor", [None, "zstd", "lz4"])
@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_another_store_holds_the_same_codes(tiny, tmp_path, store, compressor):
    recipe = tiny.Recipe(invalid=frozenset(["train/01.jpg"]))
    source = Cache(recipe.write(tmp_path / "a"))
    conversion = Conversion(store=store, compressor=compressor)
    done = conversion.run(source, tmp_path / "b", quiet)
    assert (done.written, done.missing) == (5, 0)
    copy = Cache(tmp_path / "b")
    assert (copy.manifest.store, copy.manifest.compressor) == (store, compressor)
    assert copy.manifest.features == source.manifest.features
    for name, _ in recipe.splits:
        tiny.assert_same_codes(codes(copy, name), codes(source, name))
        assert copy.split(name).keys == source.split(name).keys
        np.testing.assert_array_equal(copy.split(name).valid, source.split(name).valid)
        np.testing.assert_array_equal(
            copy.split(name).labels("species"), source.split(name).labels("species")
        )
    assert copy.statistics() == source.statistics()


def test_back_again_it_is_the_same_to_the_byte(tiny, tmp_path):
    recipe = tiny.Recipe(invalid=frozenset(["val/größe 2.jpg"]))
    source = Cache(recipe.write(tmp_path / "a"))
    Conversion(store="hdf5", compressor="blosc").run(source, tmp_path / "b", quiet)
    Conversion(store="zarr", uncompressed=True).run(Cache(tmp_path / "b"), tmp_path / "c", quiet)
    assert tiny.tree(tmp_path / "c") == tiny.tree(tmp_path / "a")


def test_fewer_sites_are_those_of_an_extraction_with_fewer_sites(tiny, tmp_path):
    recipe = tiny.Recipe()
    source = Cache(recipe.write(tmp_path / "a"))
    Conversion(sites=["block.00", "block.05"]).run(source, tmp_path / "b", quiet)
    copy = Cache(tmp_path / "b")
    assert copy.sites == ("block.00", "block.05")
    tiny.assert_same_codes(codes(copy, "train"), codes(source, "train", ["block.00", "block.05"]))
    assert copy.statistics() == [source.statistics()[0], source.statistics()[2]]
    np.testing.assert_array_equal(copy.constants["centre"], source.constants["centre"][[0, 2]])


@pytest.mark.parametrize("codec", ["int8", "int4", "float16"])
def test_from_float32_it_is_what_extraction_gives(tiny, tmp_path, codec):
    """The recipe calibrates on all of its few images, and so does the conversion."""
    recipe = tiny.Recipe(codec="float32", invalid=frozenset(["train/01.jpg"]))
    source = Cache(recipe.write(tmp_path / "a"))
    Conversion(codec=codec).run(source, tmp_path / "b", quiet)
    copy = Cache(tmp_path / "b")
    valid = replace(recipe, splits=(("train", recipe.keys[:1] + recipe.keys[2:]),), codec=codec)
    direct = valid.encode(tiny.VAL)
    found = copy.codec(copy.sites).decode(codes(copy, "val"))
    wanted = make(valid).decode(direct)
    step = np.abs(wanted).max() / 100
    np.testing.assert_allclose(found, wanted, atol=1e-3 if codec == "float16" else step)
    assert [one.count for one in copy.statistics()] == [one.count for one in source.statistics()]
    assert not copy.split("train").valid[1]


def make(recipe):
    from losa.cache_format import make_codec

    return make_codec(recipe.codec, recipe.calibration)


def test_losses_add_up(tiny, tmp_path):
    recipe = tiny.Recipe(codec="int4")
    source = Cache(recipe.write(tmp_path / "a"))
    Conversion(codec="int8").run(source, tmp_path / "b", quiet)
    copy = Cache(tmp_path / "b")
    for before, after in zip(source.statistics(), copy.statistics(), strict=True):
        assert after.error_sum_squares > before.error_sum_squares
        assert after.sum_squares == before.sum_squares
    assert copy.manifest.provenance["converted_from"] == "int4"


def test_an_interrupted_conversion_goes_on(tiny, tmp_path):
    source = Cache(tiny.Recipe().write(tmp_path / "a"))
    conversion = Conversion(store="hdf5")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversion.run(source, tmp_path / "b", stop)
    assert conversion.run(source, tmp_path / "b", quiet).written == 3
    conversion.run(source, tmp_path / "c", quiet)
    assert tiny.tree(tmp_path / "b") == tiny.tree(tmp_path / "c")


def test_an_unfinished_source_gives_an_unfinished_copy(tiny, tmp_path):
    recipe = tiny.Recipe()
    source = recipe.write(tmp_path / "a")
    (source / "arrays.zarr/segments/train/codes/commit.1.json").unlink()
    done = Conversion(store="hdf5").run(Cache(source), tmp_path / "b", quiet)
    assert (done.written, done.missing) == (4, 1)


def test_calibration_needs_its_sample(tiny, tmp_path):
    source = tiny.Recipe(codec="float16").write(tmp_path / "a")
    (source / "arrays.zarr/segments/train/codes/commit.1.json").unlink()
    with pytest.raises(LosaError, match="not extracted yet"):
        Conversion(codec="int8").run(Cache(source), tmp_path / "b", quiet)
    assert not (tmp_path / "b").exists()


def test_refusals(tiny, tmp_path):
    source = Cache(tiny.Recipe().write(tmp_path / "a"))
    with pytest.raises(CacheError, match="cannot be written into that folder"):
        Conversion(store="hdf5").run(source, tmp_path / "a", quiet)
    Conversion(store="hdf5").run(source, tmp_path / "b", quiet)
    with pytest.raises(IdentityMismatch, match=r"store .*expected 'zarr', found 'hdf5'"):
        Conversion(store="zarr").run(source, tmp_path / "b", quiet)


def test_a_damaged_source_is_not_copied(tiny, tmp_path):
    source = tiny.Recipe().write(tmp_path / "a")
    tiny.flip(source / "arrays.zarr/segments/val/codes/c.0.0.0.0", 5, 1)
    with pytest.raises(LosaError, match="expected crc32c"):
        Conversion(store="hdf5").run(Cache(source), tmp_path / "b", quiet)
    record = tmp_path / "b/arrays.hdf5/segments/val/commit.0.json"
    assert not record.exists()
    kept = tmp_path / "b/arrays.hdf5/segments/train/commit.0.json"
    assert Commit.parse(kept.read_bytes(), kept).rows == 3


def test_the_command(tiny, command, tmp_path):
    tiny.Recipe().write(tmp_path / "a")
    told = command(
        tmp_path, "losa-cache", "convert", "a", "--to", "b", "--sites", "2", "--compressor", "zstd"
    )
    assert (told.returncode, told.stdout) == (0, "b: 5 shards written\n"), told.stderr
    assert Cache(tmp_path / "b").sites == ("block.02", "block.05")
    wrong = command(tmp_path, "losa-cache", "convert", "a", "--to", "c", "--codec", "int9")
    assert wrong.returncode == 2
    assert "'int9' is not one of" in wrong.stderr
    wrong = command(tmp_path, "losa-cache", "convert", "a", "--to", "c", "--sites", "block.03")
    assert (
        wrong.stderr
        == "error: sites: there is no site 'block.03' here; there are block.00, block.02, block.05\n"
    )
