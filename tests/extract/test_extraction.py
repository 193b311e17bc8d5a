import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from losa.cache_format import Cache, IdentityMismatch, LosaError, Manifest, NonFiniteActivations
from losa.cache_format.codecs import CodecName
from losa.cache_format.identity import ImageDecoding, TokenLayout
from losa.cache_format.storage.sealed_json import seal, unseal
from losa.extract import backbone as backbone_module
from losa.extract import codec_loss, extract, load_backbone, open_source
from losa.extract.grid_pooling import pool_grid
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform
from losa.extract.sources import InvalidImage

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

SITES = ("embed", "block.02", "block.05")


@pytest.fixture
def folder(photos):
    """The data set of made-up photos."""
    return {"kind": "folder", "root": str(photos)}


@pytest.fixture
def lists(vtab):
    """The data set of made-up lists."""
    return {"kind": "lists", "root": str(vtab)}


def _expected(config, keys):
    """What the backbone says of some images, each computed alone."""
    backbone, source = load_backbone(config.backbone), open_source(config.dataset)
    for split in source.splits:
        source.contents(split)
    transform = make_transform(backbone.preprocessing)
    loader = ImageLoader(source, DEFAULT_DECODING)
    images = [transform(loader.load(key).image)[None] for key in keys]
    return np.concatenate([backbone.activations(image, SITES).numpy() for image in images])


def _decoded(split):
    codes = split.read(np.arange(len(split)))
    return split.cache.codec(split.sites).decode(codes)


def _snr(expected, found):
    error = ((expected - found).astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10((expected.astype(np.float64) ** 2).sum(axis=(0, 2, 3)) / error)


def _stamps(cache):
    """Inode and time of every file of every committed shard."""
    stamps = {}
    for commit in cache.rglob("commit.*.json"):
        shard = commit.name.split(".")[1]
        beside = [*commit.parent.glob(f"shard.{shard}.h5"), *commit.parent.parent.glob(f"*/c.{shard}.0.0*")]
        for path in [commit, *beside]:
            stamps[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return stamps


class TestContent:
    def test_values_read_back_are_the_backbones_activations(self, config, folder):
        settings = config(dataset=folder, codec="float32", batch_size=1)
        done = extract(settings)
        assert (done.images, done.invalid, done.finished) == (10, 0, True)
        cache = Cache(done.cache)
        source = open_source(settings.dataset)
        for name in ("train", "val"):
            split, contents = cache.split(name, SITES), source.contents(name)
            assert split.keys == list(contents.keys)
            assert np.array_equal(split.labels("label"), contents.labels["label"])
            assert split.valid.all()
            assert split.sites == SITES
            assert np.array_equal(_decoded(split), _expected(settings, split.keys))
        assert cache.label_column("label").classes == ("ant", "cat")

    @pytest.mark.parametrize("codec", get_args(CodecName))
    def test_every_codec_is_as_near_as_it_can_be(self, config, codec):
        settings = config(codec=codec)
        cache = Cache(extract(settings).cache)
        split = cache.split("train800", SITES)
        assert len(split) == 10
        expected = _expected(settings, split.keys)
        least = {"float32": 100, "float16": 65, "bfloat16": 50, "int8": 38, "int4": 15}[codec]
        found = _snr(expected, _decoded(split))
        assert (found > least).all(), found
        manifest = cache.manifest
        assert manifest.features.codec == codec
        assert ({"centre", "spread"} <= set(cache.constants)) == (codec in ("int8", "int4"))

    def test_a_stored_sum_is_the_sum_of_the_stored_sites(self, config):
        cache = Cache(extract(config(codec="float32", sites=["sum:6", "all"])).cache)
        assert cache.sites[:2] == ("sum:all", "block.00")
        total, *blocks = np.moveaxis(_decoded(cache.split("train800")), 1, 0)
        assert np.array_equal(total, sum(blocks[1:], start=blocks[0]))
        statistics = cache.statistics()[0]
        assert statistics.sum_squares == pytest.approx((total.astype(np.float64) ** 2).sum(), rel=1e-5)

    @pytest.mark.parametrize("codec", ["float32", "int8"])
    def test_a_pooled_grid_is_stored(self, config, codec, tmp_path):
        whole = extract(config(codec="float32", cache=str(tmp_path / "whole"))).cache
        cache = Cache(extract(config(codec=codec, grid="5x2")).cache)
        tokens = cache.manifest.features.group.tokens
        assert tokens == TokenLayout(cls=1, registers=0, grid=(5, 2), pooled_from=(10, 10))
        expected = pool_grid(torch.from_numpy(_decoded(Cache(whole).split("train800"))), tokens).numpy()
        found = _snr(expected, _decoded(cache.split("train800")))
        assert (found > (38 if codec == "int8" else 120)).all(), found
        assert cache.manifest.features.sha256 != Cache(whole).manifest.features.sha256

    def test_augmented_views_are_pooled_too(self, config):
        cache = Cache(extract(config(grid=5, views=2, limit=4)).cache)
        assert cache.split("train800-views2").image_shape[1] == 1 + 25

    def test_the_whole_grid_is_no_pooled_one(self, config, tmp_path):
        caches = [extract(config(cache=str(tmp_path / str(grid)), grid=grid)).cache for grid in (None, "10")]
        one, other = (Cache(cache).manifest.to_json() for cache in caches)
        assert one == other
        assert "pooled_from" not in json.dumps(one)

    def test_the_manifest_says_what_was_done(self, config):
        settings = config()
        manifest = Cache(extract(settings).cache).manifest
        backbone = load_backbone(settings.backbone)
        assert manifest.dataset == "toy"
        assert manifest.features.backbone == backbone.identity
        assert manifest.features.preprocessing == replace(
            backbone.preprocessing, decoding=ImageDecoding(exif="apply", background=(255, 255, 255))
        )
        assert manifest.features.group == backbone.group(["embed", 2])
        assert manifest.features.final_norm == backbone.final_norm
        assert manifest.features.compute_dtype == "float32"
        assert manifest.provenance["losa"]
        # Classes of the data set, not of the ten images.
        assert manifest.labels[0].num_classes == 10

    def test_statistics_of_the_records_are_those_of_the_activations(self, config):
        settings = config(codec="float16")
        extract(settings)
        cache = Cache(settings.cache)
        expected = _expected(settings, cache.split("train800").keys)
        records = [json.loads(path.read_text())["statistics"] for path in cache.path.rglob("commit.*.json")]
        for site in range(len(SITES)):
            assert sum(record[site]["count"] for record in records) == expected[:, site].size
            low = min(record[site]["minimum"] for record in records)
            high = max(record[site]["maximum"] for record in records)
            assert low == pytest.approx(expected[:, site].min(), rel=1e-4)
            assert high == pytest.approx(expected[:, site].max(), rel=1e-4)

    def test_each_image_is_stored_once(self, config, lists):
        settings = config(dataset=lists, codec="float16")
        assert extract(settings).images == 9
        cache = Cache(settings.cache)
        assert [(s.name, s.images) for s in cache.manifest.segments] == [("train800", 6), ("val200", 3)]
        both = cache.split("train800val200", SITES)
        assert both.keys == cache.split("train800").keys + cache.split("val200").keys
        parts = [_decoded(cache.split(name, SITES)) for name in ("train800", "val200")]
        assert np.array_equal(_decoded(both), np.concatenate(parts))
        assert both.labels("label").tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 2]

    def test_only_the_splits_that_were_asked_for(self, config, lists):
        done = extract(config(dataset=lists, splits=["val200"]))
        assert done.images == 3
        assert [split.name for split in Cache(done.cache).manifest.splits] == ["val200"]
        # The label space is that of all lists.
        assert Cache(done.cache).manifest.labels[0].num_classes == 3

    def test_limit_takes_images_of_all_classes_of_each_split(self, config, folder):
        done = extract(config(dataset=folder, limit=2))
        cache = Cache(done.cache)
        assert done.images == 4
        assert cache.split("train").keys == ["train/ant/0.png", "train/cat/1.png"]
        assert cache.split("val").keys == ["val/cat/0.png", "val/cat/1.png"]

    def test_autocast_changes_the_values_little_and_is_recorded(self, config, tmp_path):
        exact = Cache(extract(config(codec="float32")).cache)
        settings = config(codec="float32", dtype="bfloat16", cache=str(tmp_path / "half"))
        half = Cache(extract(settings).cache)
        assert half.manifest.features.compute_dtype == "bfloat16"
        values = [_decoded(cache.split("train800", SITES)) for cache in (exact, half)]
        assert not np.array_equal(*values)
        assert (_snr(*values) > 30).all()


class TestDeterminism:
    def test_two_runs_and_any_number_of_workers_give_equal_bytes(self, config, folder, tmp_path, tree):
        paths = [tmp_path / name for name in ("a", "b")]
        for path, workers in zip(paths, (0, 2), strict=True):
            extract(config(dataset=folder, cache=str(path), workers=workers))
        assert tree(paths[0]) == tree(paths[1])

    def test_a_finished_cache_is_left_alone(self, config, tmp_path, tree):
        extract(config())
        before, stamps = tree(tmp_path / "cache"), _stamps(tmp_path / "cache")
        done = extract(config())
        assert (done.images, done.finished) == (0, True)
        assert tree(tmp_path / "cache") == before
        assert _stamps(tmp_path / "cache") == stamps

    def test_a_damaged_shard_is_made_again(self, config, tmp_path, tree, caplog):
        extract(config())
        before, stamps = tree(tmp_path / "cache"), _stamps(tmp_path / "cache")
        codes = tmp_path / "cache/arrays.zarr/segments/train800/codes/c.1.0.0.0"
        codes.write_bytes(codes.read_bytes()[:-1])
        assert extract(config()).images == 4
        assert "This shard is made again" in caplog.text
        assert tree(tmp_path / "cache") == before
        kept = {path: stamp for path, stamp in stamps.items() if ".1." not in path.name}
        assert len(kept) == 6
        assert kept.items() <= _stamps(tmp_path / "cache").items()

    @pytest.mark.parametrize("store", ["zarr", "hdf5"])
    @pytest.mark.parametrize("splits", [["train"], ["train", "val"]])
    def test_a_resume_reads_each_commit_record_twice_at_most(
        self, config, folder, tmp_path, monkeypatch, store, splits
    ):
        """Once before the writer takes its lock, and once after, because another process may have written."""
        extract(config(dataset=folder, store=store))
        records = sorted((tmp_path / "cache").rglob("commit.*.json"))
        assert len(records) == 3
        records[1].unlink()
        reads, read_bytes = Counter(), Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda path: reads.update([path]) or read_bytes(path))
        assert extract(config(dataset=folder, store=store, splits=splits)).images in (3, 4)
        assert [reads[record] for record in records] == [2, 2, 2]

    def test_a_split_may_be_added_later_and_the_calibration_stays(self, config, folder, tmp_path, tree):
        extract(config(dataset=folder, splits=["train"]))
        before, stamps = tree(tmp_path / "cache"), _stamps(tmp_path / "cache")
        assert extract(config(dataset=folder, splits=["val"])).images == 3
        after = tree(tmp_path / "cache")
        del before["manifest.json"]
        assert before.items() <= after.items()
        assert stamps.items() <= _stamps(tmp_path / "cache").items()
        # Calibrated on the training images alone; with the others it would be another one.
        extract(config(dataset=folder, cache=str(tmp_path / "at once")))
        spread = "arrays.zarr/constants/spread/c.0.0"
        assert tree(tmp_path / "at once")[spread] != after[spread]
        cache = Cache(tmp_path / "cache")
        assert [split.name for split in cache.manifest.splits] == ["train", "val"]
        settings = config(dataset=folder)
        split = cache.split("val", SITES)
        assert (_snr(_expected(settings, split.keys), _decoded(split)) > 35).all()


class TestPlan:
    def test_plan_writes_nothing(self, config, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        done = extract(config(plan=True))
        assert (done.images, done.finished) == (0, False)
        assert "10 to extract in 3 shards" in caplog.text
        assert not (tmp_path / "cache").exists()

    def test_what_was_planned_can_be_changed_and_run(self, config, tmp_path, tree):
        extract(config(plan=True, sites=1, codec="float32"))
        assert extract(config()).images == 10
        extract(config(cache=str(tmp_path / "straight")))
        assert tree(tmp_path / "cache") == tree(tmp_path / "straight")


class TestProgress:
    def test_its_text_has_room_in_80_columns(self, config, monkeypatch, capsys):
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        extract(config())
        states = [text for text in re.split("[\r\n]", capsys.readouterr().err) if "extracting" in text]
        last = states[-1].strip().replace("█", "")
        assert re.search(r"bottleneck: \w+\]$", last)
        assert len(last) <= 80


class TestInvalid:
    @pytest.fixture(params=[0, 2], ids=["in-process", "workers"])
    def workers(self, request):
        return request.param

    @pytest.mark.parametrize("codec", ["int8", "float16"])
    def test_fail_names_the_image_and_leaves_nothing_half_written(
        self, config, folder, photos, tmp_path, workers, codec
    ):
        (photos / "train/cat/3.png").write_bytes(b"no image")
        with pytest.raises(InvalidImage) as caught:
            extract(config(dataset=folder, codec=codec, workers=workers))
        assert str(caught.value) == (
            "cannot read an image: train/cat/3.png: not an image in a format that Pillow knows\n"
            "Correct the file, or take it out of the data set, and run the same command again: what is "
            "finished is kept. on_error=skip records invalid images and continues"
        )
        assert not list(tmp_path.rglob("*.tmp"))
        # With the image repaired, the same command resumes; shards committed before the error are kept.
        (photos / "train/cat/3.png").write_bytes((photos / "train/cat/1.png").read_bytes())
        assert extract(config(dataset=folder, codec=codec)).images == (10 if codec == "int8" else 6)

    def test_a_name_of_two_lines_is_told_in_one(self, config, folder, photos, caplog):
        (photos / "train/cat/3\n4.png").write_bytes(b"no image")
        extract(config(dataset=folder, on_error="skip"))
        told = r"skipped: train/cat/3\n4.png: not an image in a format that Pillow knows"
        assert {message for message in caplog.messages if message.startswith("skipped")} == {told}

    @pytest.mark.parametrize("codec", ["int8", "float32"])
    def test_skip_records_which_images_are_invalid(self, config, folder, photos, workers, caplog, codec):
        # A whole batch, a whole shard, and one image of another.
        for name in ("ant/0", "ant/2", "ant/4", "ant/6", "cat/3"):
            (photos / f"train/{name}.png").write_bytes(b"no image")
        settings = config(dataset=folder, on_error="skip", workers=workers, codec=codec)
        done = extract(settings)
        assert (done.images, done.invalid) == (10, 5)
        assert "skipped: train/cat/3.png: not an image" in caplog.text
        cache = Cache(done.cache)
        split = cache.split("train", SITES)
        assert split.valid.tolist() == [False, False, False, False, True, False, True]
        assert cache.split("val").valid.all()
        codes = split.read(np.arange(7))
        assert not codes.values[~split.valid].any()
        assert codes.scales is None or not codes.scales[~split.valid].any()
        readable = [key for key, valid in zip(split.keys, split.valid, strict=True) if valid]
        found = _decoded(split)[split.valid]
        assert (_snr(_expected(settings, readable), found) > 35).all()
        assert split.labels("label").tolist() == [0, 0, 0, 0, 1, 1, 1]
        # Known as invalid, they are not tried again.
        again = extract(settings)
        assert (again.images, again.invalid) == (0, 0)

    def test_a_calibration_sample_without_a_readable_image_is_refused(self, config, folder, photos, tmp_path):
        for path in photos.rglob("*.png"):
            path.write_bytes(b"no image")
        with pytest.raises(LosaError, match="none of the images of the calibration sample can be read"):
            extract(config(dataset=folder, on_error="skip"))
        assert not (tmp_path / "cache").exists()

    def test_without_calibration_a_cache_may_hold_invalid_images_only(self, config, folder, photos):
        for path in photos.rglob("*.png"):
            path.write_bytes(b"no image")
        done = extract(config(dataset=folder, on_error="skip", codec="float16"))
        assert (done.images, done.invalid) == (10, 10)
        assert not Cache(done.cache).split("train").valid.any()


class TestIdentity:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"backbone": {"seed": 1}}, "backbone.weights_sha256"),
            ({"backbone": {"name": "test_vit2"}}, "backbone.name"),
            ({"backbone": {"args": {"act_layer": "relu"}}}, "backbone.arguments.act_layer"),
            ({"backbone": {"img_size": 64}}, "preprocessing.input_size"),
            ({"sites": 2}, "site_groups[0].sites"),
            ({"codec": "float16"}, "codec"),
            ({"dtype": "bfloat16"}, "compute_dtype"),
            ({"rows_per_shard": 5}, "train800.rows_per_shard"),
            ({"resize": "squash"}, "preprocessing.crop_mode"),
            ({"crop_pct": 0.5}, "preprocessing.crop_pct"),
            ({"interpolation": "nearest"}, "preprocessing.interpolation"),
            ({"mean": 0.25}, "preprocessing.mean"),
            ({"std": [0.5, 0.25, 0.5]}, "preprocessing.std"),
            ({"exif": "ignore"}, "preprocessing.decoding.exif"),
            ({"background": [255, 0, 255]}, "preprocessing.decoding.background"),
            ({"dataset": {"name": "other"}}, "dataset"),
            ({"sites": ["sum:all"]}, "site_groups[0].sites"),
            ({"grid": 5}, "site_groups[0].tokens.grid"),
            ({"grid": 5}, "site_groups[0].tokens.pooled_from"),
        ],
    )
    def test_another_identity_is_refused_field_by_field(self, config, tmp_path, tree, changes, field):
        extract(config())
        before = tree(tmp_path / "cache")
        with pytest.raises(IdentityMismatch, match="is a cache of something else") as caught:
            extract(config(**changes))
        assert field in [difference.field for difference in caught.value.differences]
        assert f"  {field} " in str(caught.value)
        assert "cache=..." in str(caught.value)
        assert tree(tmp_path / "cache") == before

    def test_another_preprocessing_is_refused(self, config, monkeypatch):
        extract(config())
        preprocessing_of = backbone_module.preprocessing_of
        monkeypatch.setattr(
            backbone_module,
            "preprocessing_of",
            lambda model: replace(preprocessing_of(model), interpolation="bilinear"),
        )
        with pytest.raises(IdentityMismatch) as caught:
            extract(config())
        (difference,) = caught.value.differences
        assert difference == ("preprocessing.interpolation", "bilinear", "bicubic")

    @pytest.mark.parametrize("codec", ["int8", "float32"])
    def test_an_image_whose_bytes_have_changed_is_refused(self, config, folder, photos, paint, codec):
        settings = config(dataset=folder, codec=codec)
        extract(settings)
        paint(photos / "val/cat/1.png", 999)
        with pytest.raises(IdentityMismatch) as caught:
            extract(settings)
        (difference,) = caught.value.differences
        assert difference.field == "blake2b of image val/cat/1.png"
        assert len(difference.expected) == len(difference.found) == 32
        assert "The image has changed since it was extracted" in str(caught.value)
        # Same content again, only with a new date: accepted.
        paint(photos / "val/cat/1.png", 101)
        assert extract(settings).images == 0

    def test_an_image_that_can_no_longer_be_read_is_refused(self, config, folder, photos):
        extract(config(dataset=folder))
        (photos / "val/cat/1.png").write_bytes(b"no image")
        with pytest.raises(IdentityMismatch, match=r"blake2b of image val/cat/1\.png"):
            extract(config(dataset=folder, on_error="skip"))

    def test_a_folder_that_holds_something_else_is_refused(self, config, tmp_path):
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache/thesis.tex").write_text("x")
        with pytest.raises(LosaError, match=r"is not a cache and not empty \(it holds 'thesis\.tex'\)"):
            extract(config())


class TestRefusals:
    def test_a_gpu_that_is_not_there(self, config, monkeypatch, tmp_path):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        with pytest.raises(LosaError, match=r"device=cuda: torch .* sees 0 CUDA devices; use device=cpu"):
            extract(config(device="cuda"))
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"device": "tpu"}, "device=tpu: expected auto, cpu, cuda"),
            ({"splits": ["trian"]}, "the data set has no split 'trian'; it has: train800, val200"),
            ({"sites": 7}, "sites=7: expected a number from 1 to 6"),
            ({"grid": 3}, "grid=3x3: the grid of this backbone has 10 x 10 tokens"),
            ({"sites": ["block.06"]}, "there is no site 'block.06' here; there are embed, block.00"),
        ],
    )
    def test_options_that_cannot_be_met(self, config, tmp_path, changes, message):
        with pytest.raises(LosaError) as caught:
            extract(config(**changes))
        assert message in str(caught.value)
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize("site", ["embed", "sum:embed+block.05"])
    def test_activations_beyond_the_codec_name_the_site_and_leave_nothing(
        self, config, toy_model, tmp_path, site
    ):
        model = toy_model("test_vit")
        weights = model.state_dict()
        weights["pos_embed"] *= 1e6
        save_file(weights, tmp_path / "huge.safetensors")
        huge = {"checkpoint": str(tmp_path / "huge.safetensors")}
        message = re.escape(f"at site '{site}' are too large for codec=float16")
        with pytest.raises(NonFiniteActivations, match=message):
            extract(config(codec="float16", backbone=huge, sites=[site, "block.05"]))
        assert _stamps(tmp_path / "cache") == {}
        assert not list(tmp_path.rglob("*.tmp"))


SERVER = """
import json, os, signal, sys
import sklearn.datasets
import torch
from pydantic import TypeAdapter
from losa.extract import ExtractConfig, extract
from losa.extract.sources.digits import DigitsSource

torch.set_num_threads(1)

def counted(function, kill_at):
    def counting(*arguments):
        counting.calls += 1
        if counting.calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    counting.calls = 0
    return counting

def run(order):
    os.fsync = counted(os.fsync, order.get("fsync"))
    DigitsSource.read = counted(DigitsSource.read, order.get("load"))
    extract(TypeAdapter(ExtractConfig).validate_json(json.dumps(order["config"])))
    return {"fsync": os.fsync.calls, "load": DigitsSource.read.calls}

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(json.dumps(run(json.loads(line))), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps({"died": os.waitstatus_to_exitcode(status)}), flush=True)
"""


@pytest.fixture(scope="module")
def extract_elsewhere():
    """``extract_elsewhere(config, fsync=n, load=n)``: extract in a process of its own.

    It kills itself with SIGKILL at the n-th call; the answer counts the calls, or says that it died.
    """
    command = [sys.executable, "-W", "error", "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=dict(os.environ)) as server:

        def order(config, **kill_at):
            server.stdin.write(json.dumps({"config": asdict(config), **kill_at}) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield order
        server.stdin.close()
    assert server.returncode == 0


def test_a_killed_extraction_resumes_to_identical_bytes(config, tmp_path, tree, extract_elsewhere):
    calls = extract_elsewhere(config(cache=str(tmp_path / "whole")))
    reference = tree(tmp_path / "whole")
    committed = len(_stamps(tmp_path / "whole"))
    assert committed == 9
    # Flushes precede every step that counts. The last six are those of the last shard, and so on.
    last = calls["fsync"]
    points = [("fsync", n) for n in (1, 20, 50, last - 15, last - 8, last - 3, last)]
    points += [("load", n) for n in (5, 16)]
    survivors = set()
    for kind, n in points:
        path = tmp_path / f"{kind}{n}"
        settings = config(cache=str(path))
        assert extract_elsewhere(settings, **{kind: n}) == {"died": -signal.SIGKILL}
        before = _stamps(path)
        survivors.add(len(before))
        resumed = extract_elsewhere(settings)
        assert tree(path) == reference, (kind, n)
        after = _stamps(path)
        assert before.items() <= after.items(), (kind, n)
        # Of committed shards no image is decoded again, but for a few, to be compared.
        if before:
            compared = min(8, 4 * (len(before) // 3))
            assert resumed["load"] == max(0, 10 - 4 * len(before) // 3) + compared, (kind, n)
    assert survivors == {0, 3, 6, 9}


class TestSecondThoughts:
    def test_an_image_that_was_mended_is_extracted_without_on_error_skip(
        self, config, folder, photos, tmp_path, paint
    ):
        broken = photos / "train/cat/3.png"
        whole = broken.read_bytes()
        broken.write_bytes(b"no image")
        assert extract(config(dataset=folder, on_error="skip")).invalid == 1
        with pytest.raises(InvalidImage):
            extract(config(dataset=folder))
        # The refusal has cost nothing: what on_error=skip had recorded still stands.
        assert not Cache(tmp_path / "cache").split("train").valid.all()
        broken.write_bytes(whole)
        assert extract(config(dataset=folder)).images > 0
        assert Cache(tmp_path / "cache").split("train").valid.all()

    def test_only_the_splits_that_are_asked_for_are_extracted(self, config, folder, tmp_path):
        extract(config(dataset=folder, splits=["train"]))
        commits = tmp_path / "cache/arrays.zarr/segments/train/codes"
        (commits / "commit.0.json").unlink()
        extract(config(dataset=folder, splits=["val"]))
        assert not (commits / "commit.0.json").exists()
        assert len(Cache(tmp_path / "cache").split("val")) == 3

    def test_another_machine_is_told_of(self, config, caplog, monkeypatch):
        extract(config())
        monkeypatch.setattr(torch, "__version__", "9.9.9")
        extract(config())
        assert "was begun with torch" in caplog.text
        assert "now it is 9.9.9: features may differ in their last bits" in caplog.text

    def test_where_the_weights_come_from_is_recorded_but_not_compared(self, config, tmp_path, tree, caplog):
        """As the revision of a model on the hub: weights are identified by their hash."""
        extract(config())
        manifest = Manifest.read(tmp_path / "cache")
        origin = {"architecture": "test_vit", "random_weights": "seed 0"}
        assert origin.items() <= manifest.provenance.items()
        rest = {field: value for field, value in manifest.provenance.items() if field not in origin}
        for other in (rest, rest | {"architecture": "test_vit", "revision": "v2"}):
            replace(manifest, provenance=other).write(tmp_path / "cache")
            before = tree(tmp_path / "cache")
            assert extract(config()).images == 0
            assert tree(tmp_path / "cache") == before
        assert "was begun with" not in caplog.text

    def test_a_cache_of_an_earlier_version_is_completed_by_its_own_rules(
        self, config, photos, tmp_path, caplog
    ):
        """Its manifest has no architecture, no arguments and no rules for pixels: 16-bit grey was clipped."""
        deep = np.full((20, 16), 40_000, np.uint16)
        Image.fromarray(deep).save(photos / "val/cat/0.png")
        folder = {"kind": "folder", "root": str(photos)}
        settings = config(dataset=folder, codec="float32", splits=["train"])
        extract(settings)
        manifest = Manifest.read(tmp_path / "cache")
        content = manifest.to_json()
        assert not {"architecture", "arguments"} & content["features"]["backbone"].keys()
        self._forget_rules(tmp_path / "cache", manifest)
        extract(config(dataset=folder, codec="float32", splits=["train", "val"]))
        assert "is completed by the rules of the version that began it" in caplog.text
        assert Cache(settings.cache).manifest.features.preprocessing.decoding is None
        white = tmp_path / "white"
        shutil.copytree(photos, white)
        Image.new("RGB", (16, 20), (255, 255, 255)).save(white / "val/cat/0.png")
        expected = config(
            dataset={"kind": "folder", "root": str(white)}, codec="float32", cache=str(tmp_path / "expected")
        )
        extract(expected)
        found, clipped = (
            Cache(path).split("val").read(np.array([0])).values for path in (settings.cache, expected.cache)
        )
        np.testing.assert_array_equal(found, clipped)
        with pytest.raises(IdentityMismatch, match=r"preprocessing\.decoding"):
            extract(config(dataset=folder, codec="float32", exif="ignore"))

    @staticmethod
    def _forget_rules(cache, manifest):
        """Make a cache one of a version that had no rules for pixels."""
        before = manifest.features.sha256
        preprocessing = replace(manifest.features.preprocessing, decoding=None)
        manifest = replace(manifest, features=replace(manifest.features, preprocessing=preprocessing))
        manifest.write(cache)
        for path in cache.rglob("commit.*.json"):
            record = unseal(path.read_bytes(), path)
            assert record["features_sha256"] == before
            path.write_bytes(seal(record | {"features_sha256": manifest.features.sha256}))

    def test_a_url_of_an_unknown_kind_is_refused(self, config):
        with pytest.raises(LosaError, match=r"cache=carrier-pigeon://x: .*carrier-pigeon"):
            extract(config(cache="carrier-pigeon://x"))

    def test_leftovers_of_a_killed_creation_are_cleared(self, config, tmp_path, tree):
        extract(config(cache=str(tmp_path / "whole"), codec="float32"))
        extract(config())
        for commit in (tmp_path / "cache").rglob("commit.*.json"):
            commit.unlink()
        (tmp_path / "cache/manifest.json").unlink()
        extract(config(codec="float32"))
        assert tree(tmp_path / "cache") == tree(tmp_path / "whole")


class TestWhatACodecCosts:
    def test_the_signal_to_noise_ratio_is_told(self, config, caplog):
        caplog.set_level(logging.INFO)
        extract(config(codec="int8"))
        (line,) = [message for message in caplog.messages if "signal-to-noise" in message]
        low, high = (float(number) for number in re.findall(r"(\d+\.\d) ", line))
        assert 35 < low <= high < 60
        assert "dB is low" not in caplog.text

    def test_a_poor_one_is_a_warning(self, config, caplog, monkeypatch):
        monkeypatch.setitem(codec_loss.POOR_SNR_DB, "int8", 99.0)
        extract(config(codec="int8"))
        assert "dB is low: compare with codec=bfloat16" in caplog.text

    def test_float32_costs_nothing(self, config, caplog):
        caplog.set_level(logging.INFO)
        extract(config(codec="float32"))
        assert "signal-to-noise" not in caplog.text


class TestStores:
    """Everything at once, end to end: another store, a compressor, int4."""

    CHANGES: ClassVar = {"store": "hdf5", "compressor": "zstd", "codec": "int4"}

    def test_it_is_read_back(self, config, folder, tmp_path):
        settings = config(dataset=folder, **self.CHANGES)
        assert extract(settings).images == 10
        cache = Cache(tmp_path / "cache")
        manifest = cache.manifest
        assert (manifest.store, manifest.compressor, manifest.features.codec) == ("hdf5", "zstd", "int4")
        assert len(list(tmp_path.glob("cache/arrays.hdf5/segments/*/shard.*.h5"))) == 3
        for name in ("train", "val"):
            split = cache.split(name, SITES)
            assert (_snr(_expected(settings, split.keys), _decoded(split)) > 15).all()
            some = cache.split(name, "block.02")
            np.testing.assert_array_equal(_decoded(some), _decoded(split)[:, 1:2])

    def test_codes_are_those_of_the_plain_cache(self, config, folder, tmp_path):
        extract(config(dataset=folder, **self.CHANGES))
        extract(config(dataset=folder, codec="int4", cache=str(tmp_path / "plain")))
        caches = [Cache(tmp_path / name) for name in ("cache", "plain")]
        assert caches[0].statistics() == caches[1].statistics()
        codes = [cache.split("train").read(np.arange(7)) for cache in caches]
        np.testing.assert_array_equal(codes[0].values, codes[1].values)
        np.testing.assert_array_equal(codes[0].scales, codes[1].scales)

    def test_a_killed_extraction_resumes_to_identical_bytes(self, config, tmp_path, tree, extract_elsewhere):
        calls = extract_elsewhere(config(cache=str(tmp_path / "whole"), **self.CHANGES))
        reference = tree(tmp_path / "whole")
        for n in (calls["fsync"] - 7, calls["fsync"] - 3, calls["fsync"]):
            path = tmp_path / f"fsync{n}"
            settings = config(cache=str(path), **self.CHANGES)
            assert extract_elsewhere(settings, fsync=n) == {"died": -signal.SIGKILL}
            extract_elsewhere(settings)
            assert tree(path) == reference, n

    def test_the_other_store_or_compressor_is_refused(self, config, folder, tmp_path, tree):
        extract(config(dataset=folder, **self.CHANGES))
        before = tree(tmp_path / "cache")
        for change, message in (
            ({"store": "zarr"}, r"store +expected 'zarr', found 'hdf5'"),
            ({"compressor": None}, r"compressor +expected None, found 'zstd'"),
        ):
            with pytest.raises(IdentityMismatch, match=message):
                extract(config(dataset=folder, **(self.CHANGES | change)))
        assert tree(tmp_path / "cache") == before


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
class TestSmallFiles:
    """What is lost beside the shards comes back from the data set; no committed shard is touched."""

    @pytest.mark.parametrize("name", ["centre", "spread", "final_norm.weight"])
    def test_a_damaged_constant_is_made_again_and_matches(self, config, tmp_path, tree, caplog, store, name):
        extract(config(store=store))
        before, stamps = tree(tmp_path / "cache"), _stamps(tmp_path / "cache")
        (file,) = [
            path
            for path in (tmp_path / f"cache/arrays.{store}/constants").rglob("*")
            if path.is_file() and name in str(path) and path.name != "zarr.json"
        ]
        data = bytearray(file.read_bytes())
        data[-9] ^= 4
        file.write_bytes(data)
        assert extract(config(store=store)).images == 0
        assert "It is written again" in caplog.text
        assert ("Calibrating again on the sample of train800" in caplog.text) != name.startswith("final")
        assert tree(tmp_path / "cache") == before
        assert _stamps(tmp_path / "cache") == stamps

    def test_a_missing_manifest_is_made_again(self, config, tmp_path, tree, store):
        extract(config(store=store))
        before, stamps = tree(tmp_path / "cache"), _stamps(tmp_path / "cache")
        (tmp_path / "cache/manifest.json").unlink()
        assert extract(config(store=store)).images == 0
        assert tree(tmp_path / "cache") == before
        assert _stamps(tmp_path / "cache") == stamps

    def test_a_cache_that_grew_comes_back_too(self, config, folder, tmp_path, tree, store):
        """It is calibrated on the split with which it was begun."""
        for split in ("train", "val"):
            extract(config(dataset=folder, store=store, splits=[split]))
        before, stamps = tree(tmp_path / "cache"), _stamps(tmp_path / "cache")
        del before["manifest.json"]  # which lists the same files in another order
        stated = Manifest.read(tmp_path / "cache")
        manifest = tmp_path / "cache/manifest.json"
        (spread,) = (
            path
            for path in (tmp_path / f"cache/arrays.{store}/constants").rglob("*")
            if path.is_file() and "spread" in str(path) and path.name != "zarr.json"
        )
        for damage in (manifest.unlink, spread.unlink):
            damage()
            assert extract(config(dataset=folder, store=store)).images == 0
            assert before.items() <= tree(tmp_path / "cache").items()
            assert Manifest.read(tmp_path / "cache") == stated
            assert _stamps(tmp_path / "cache") == stamps
        spread.unlink()
        with pytest.raises(LosaError, match="Request all splits of the cache, in the order"):
            extract(config(dataset=folder, store=store, splits=["val"]))

    def test_without_a_manifest_other_features_are_refused(self, config, tmp_path, tree, store):
        extract(config(store=store))
        (tmp_path / "cache/manifest.json").unlink()
        before = tree(tmp_path / "cache")
        with pytest.raises(
            LosaError, match=r"holds shards but no manifest\.json, and .* is of other features"
        ):
            extract(config(store=store, backbone={"seed": 1}))
        assert tree(tmp_path / "cache") == before

    def test_damaged_keys_and_labels_are_written_again(self, config, folder, tmp_path, tree, store):
        settings = config(dataset=folder, store=store)
        extract(settings)
        before = tree(tmp_path / "cache")
        for name in ("keys", "labels"):
            for path in (tmp_path / f"cache/arrays.{store}/segments/train/{name}").rglob("*"):
                if path.is_file():
                    path.unlink()
        with pytest.raises(LosaError, match=r"with all its splits \(splits=\[train,val\]\)"):
            extract(config(dataset=folder, store=store, splits=["train"]))
        assert extract(settings).images == 0
        assert tree(tmp_path / "cache") == before


def test_into_a_bucket_and_back(config, folder):
    name = f"memory://{uuid.uuid4().hex}/cache"
    settings = config(dataset=folder, cache=name, codec="int4", compressor="zstd")
    assert extract(settings).images == 10
    assert extract(settings).images == 0
    split = Cache(name).split("val", SITES)
    assert (_snr(_expected(settings, split.keys), _decoded(split)) > 15).all()
    planned = extract(config(dataset=folder, cache=name, codec="int4", compressor="zstd", plan=True))
    assert not planned.finished


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("codec", ["float32", "int8"])
def test_a_gpu_extracts_what_the_cpu_does(config, tmp_path, codec):
    found = {}
    for device in ("cpu", "cuda"):
        changes = {"codec": codec, "device": device, "cache": str(tmp_path / device)}
        extract(config(**changes))
        found[device] = Cache(tmp_path / device).split("train800").activations()
    tolerance = 1e-4 if codec == "float32" else 0.05  # a code may be the next one
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=0, atol=tolerance)
