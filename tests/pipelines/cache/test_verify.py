import json


def test_a_whole_cache(tiny, command, tmp_path):
    tiny.Recipe().write(tmp_path / "zoo")
    told = command(tmp_path, "losa-cache", "verify", "zoo")
    assert told.returncode == 0, told.stderr
    assert "11 images: undamaged, every byte fits its checksum" in told.stdout
    assert json.loads(command(tmp_path, "losa-cache", "verify", "zoo", "--json").stdout)["ok"] is True
    mended = command(tmp_path, "losa-cache", "repair", "zoo")
    assert (mended.returncode, mended.stdout) == (0, "zoo: nothing to repair\n")


def test_every_bad_image_is_named_and_repair_makes_room_for_new_ones(tiny, command, tmp_path):
    recipe = tiny.Recipe()
    path = recipe.write(tmp_path / "zoo")
    whole = tiny.tree(path)
    tiny.flip(path / "arrays.zarr/segments/train/codes/c.0.0.0.0", 5, 1)
    tiny.flip(path / "arrays.zarr/segments/val/scales/c.0.0.0.0", 50, 7)
    told = command(tmp_path, "losa-cache", "verify", "zoo")
    assert told.returncode == 1
    assert "bad shard 0 of segment 'train'" in told.stdout
    assert "bad image 'train/00.jpg' (row 0), site 'block.00': expected crc32c" in told.stdout
    assert "bad shard 0 of segment 'val'" in told.stdout
    assert "0 files, 2 shards and 2 images are damaged. Next: losa-cache repair zoo" in told.stdout
    as_json = command(tmp_path, "losa-cache", "verify", "zoo", "--json")
    assert as_json.returncode == 1
    assert [shard["segment"] for shard in json.loads(as_json.stdout)["bad_shards"]] == ["train", "val"]
    mended = command(tmp_path, "losa-cache", "repair", "zoo")
    assert mended.returncode == 0, mended.stderr
    assert "dropped shard 0 of segment 'train'\ndropped shard 0 of segment 'val'\n" in mended.stdout
    assert "Run the losa-extract command that made the cache" in mended.stdout
    recipe.write(path)
    assert tiny.tree(path) == whole


def test_small_files_need_the_extraction(tiny, command, tmp_path):
    recipe = tiny.Recipe()
    path = recipe.write(tmp_path / "zoo")
    tiny.flip(path / "arrays.zarr/segments/train/labels/species/c.0", 5, 1)
    told = command(tmp_path, "losa-cache", "verify", "zoo")
    assert told.returncode == 1
    assert "bad file: zoo/arrays.zarr/segments/train/labels/species/c.0: its crc32" in told.stdout
    mended = command(tmp_path, "losa-cache", "repair", "zoo")
    assert mended.returncode == 1
    assert "splits=[train,val]" in mended.stdout
    recipe.write(path)
    assert command(tmp_path, "losa-cache", "verify", "zoo").returncode == 0


def test_what_the_manifest_does_not_have_is_removed_only_when_asked(tiny, command, tmp_path):
    path = tiny.Recipe().write(tmp_path / "zoo")
    old = tiny.Recipe(splits=(("train", tiny.TRAIN),)).write(tmp_path / "old")
    (path / "manifest.json").write_bytes((old / "manifest.json").read_bytes())
    tiny.Recipe(splits=(("train", tiny.TRAIN),))
    told = command(tmp_path, "losa-cache", "repair", "zoo")
    assert "unknown files were left" in told.stdout, told.stderr
    assert (path / "arrays.zarr/segments/val").exists()
    assert (
        "removed arrays.zarr/segments/val"
        in command(tmp_path, "losa-cache", "repair", "zoo", "--prune").stdout
    )
    assert not (path / "arrays.zarr/segments/val").exists()


def test_a_damaged_manifest(tiny, command, tmp_path):
    path = tiny.Recipe().write(tmp_path / "zoo")
    tiny.flip(path / "manifest.json", 300, 2)
    told = command(tmp_path, "losa-cache", "verify", "zoo")
    assert told.returncode == 1
    assert told.stderr.startswith("error: zoo/manifest.json")
