"""Clips of videos through the whole first stage."""

import json
import signal
from dataclasses import asdict

import numpy as np
import pytest
import torch

from losa.cache_format import Cache, IdentityMismatch, LosaError
from losa.cache_format.identity import FrameSampling
from losa.cache_format.verification import verify
from losa.extract import extract, load_backbone, open_source
from losa.extract.clip_loader import ClipLoader
from losa.extract.preprocessing import choose_preprocessing, make_transform
from losa.extract.sources import InvalidImage

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def root(film, tmp_path):
    """Seven videos of two classes in one split, and one in another."""
    for number in range(7):
        name = "run" if number % 2 else "jump"
        film(tmp_path / f"videos/train/{name}/{number}.mp4", frames=6 + number, seed=number, size=(64, 48))
    film(tmp_path / "videos/test/run/7.mp4", frames=9, seed=7)
    return tmp_path / "videos"


@pytest.fixture
def settings(config, root):
    """``settings(**changes)``: an extraction of clips of two frames."""

    def make(**changes):
        dataset = {"kind": "folder", "name": "toy", "media": "videos", "root": str(root)}
        return config(
            **{"dataset": dataset | changes.pop("dataset", {}), "frames": 2, "batch_size": 4, **changes}
        )

    return make


def expected(settings, keys):
    """The activations of each frame computed alone, one after the other."""
    backbone = load_backbone(settings.backbone)
    preprocessing = choose_preprocessing(backbone.preprocessing, settings)
    loader, transform = (
        ClipLoader(open_source(settings.dataset), preprocessing),
        make_transform(preprocessing),
    )
    sites = backbone.group(settings.sites).sites
    clips = [
        torch.cat(
            [backbone.activations(transform(frame)[None], sites) for frame in loader.load(key).frames], 2
        )
        for key in keys
    ]
    return torch.cat(clips).numpy()


def decoded(split):
    return split.cache.codec(split.sites).decode(split.read(np.arange(len(split))))


@pytest.mark.parametrize("workers", [0, 2])
def test_activations_are_those_of_each_frame_frame_by_frame(settings, workers):
    options = settings(codec="float32", workers=workers)
    cache = Cache(extract(options).cache)
    split = cache.split("train")
    assert len(split) == 7
    found = decoded(split)
    assert found.shape == (7, 3, 2 * 101, 64)
    np.testing.assert_allclose(found, expected(options, split.keys), rtol=1e-4, atol=1e-5)
    features = cache.manifest.features
    assert features.group.tokens.frames == 2
    assert features.preprocessing.sampling == FrameSampling(frames=2)
    written = json.loads((cache.path / "manifest.json").read_text())["features"]["preprocessing"]
    assert written["sampling"] == {"version": 1, "frames": 2, "stride": None}


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_pooled_grids_fewer_sites_and_small_codecs(settings, tmp_path, codec):
    plain = settings(codec="float32", cache=str(tmp_path / "plain"), grid=5, sites=1)
    small = settings(codec=codec, cache=str(tmp_path / "small"), grid=5, sites=1)
    whole, cache = (decoded(Cache(extract(options).cache).split("train")) for options in (plain, small))
    assert whole.shape == (7, 1, 2 * (1 + 25), 64)
    per_frame = expected(settings(sites=1), Cache(plain.cache).split("train").keys)[:, :, 101:]
    means = per_frame[:, :, 1:].reshape(7, 1, 5, 2, 5, 2, 64).mean((3, 5)).reshape(7, 1, 25, 64)
    np.testing.assert_allclose(whole[:, :, 26:], np.concatenate([per_frame[:, :, :1], means], 2), atol=1e-4)
    noise = ((whole - cache) ** 2).sum() / (whole**2).sum()
    assert -10 * np.log10(noise) > {"int8": 35, "int4": 15}[codec]
    assert verify(small.cache).ok


def test_frames_count_for_the_batch(settings, monkeypatch):
    sizes = []
    from losa.extract.taps import BlockTaps

    read = BlockTaps.read
    monkeypatch.setattr(
        BlockTaps, "read", lambda self, images, sites: sizes.append(len(images)) or read(self, images, sites)
    )
    extract(settings(codec="float16", batch_size=5, splits=["train"]))
    assert set(sizes[1:]) == {4, 2}
    sizes.clear()
    extract(settings(codec="float16", batch_size=1, splits=["test"]))
    assert set(sizes[1:]) == {2}


def test_several_clips_are_splits_of_their_own(settings):
    path = extract(settings(codec="float16")).cache
    extract(settings(codec="float16", splits=["test-clips2x3"]))
    cache = Cache(path)
    assert cache.split("test").keys == ["test/run/7.mp4"]
    assert cache.split("test-clips2x3").keys == [
        f"test/run/7.mp4?clip={clip}of2&crop={crop}of3" for clip in (1, 2) for crop in (1, 2, 3)
    ]
    assert cache.split("test-clips2x3").labels("label").tolist() == [1] * 6


def test_clips_and_crops_are_options_for_all_splits(settings):
    cache = Cache(extract(settings(clips=2, limit=2, codec="float16", views=2, splits=["train"])).cache)
    assert [record.name for record in cache.manifest.splits] == ["train-clips2x1", "train-clips2x1-views2"]
    keys = cache.split("train-clips2x1-views2").keys
    assert keys[3] == "train/run/1.mp4?clip=2of2&crop=1of1"
    assert keys[7] == "train/run/1.mp4?clip=2of2&crop=1of1?view=1&crop=0.6&flip=1"


def test_other_frames_are_another_cache(settings):
    extract(settings())
    for changes in ({"frames": 3}, {"stride": 2}):
        with pytest.raises(IdentityMismatch, match=r"preprocessing\.sampling") as caught:
            extract(settings(**changes))
        assert all(
            each.field.startswith(("preprocessing.sampling", "site_groups"))
            for each in caught.value.differences
        )


class TestBadVideos:
    @pytest.fixture
    def truncated(self, root):
        path = root / "train/run/3.mp4"
        path.write_bytes(path.read_bytes()[:-400])
        return path

    def test_a_truncated_one_is_named(self, settings, truncated):
        with pytest.raises(InvalidImage, match=r"cannot read an image: train/run/3\.mp4: .*damaged"):
            extract(settings(codec="float16"))

    def test_or_skipped(self, settings, truncated, caplog):
        done = extract(settings(codec="float16", on_error="skip", clips=2))
        assert done.invalid == 2
        assert "skipped: train/run/3.mp4?clip=1of2&crop=1of1: " in caplog.text
        split = Cache(done.cache).split("train-clips2x1")
        assert [key for key, valid in zip(split.keys, split.valid, strict=True) if not valid] == [
            f"train/run/3.mp4?clip={clip}of2&crop=1of1" for clip in (1, 2)
        ]

    def test_one_that_is_too_short_is_named(self, settings):
        message = r"train/jump/0\.mp4: it has 6 frames; a clip of frames=7 needs 7"
        with pytest.raises(InvalidImage, match=message):
            extract(settings(frames=7, codec="float16"))

    def test_one_that_has_changed_is_refused(self, settings, root, film):
        extract(settings(clips=2))
        film(root / "train/jump/0.mp4", frames=6, seed=90, size=(64, 48))
        with pytest.raises(IdentityMismatch, match=r"blake2b of image train/jump/0\.mp4\?clip=1of2"):
            extract(settings(clips=2))


class TestRefusals:
    @pytest.mark.parametrize("changes", [{"frames": 4}, {"stride": 2}, {"clips": 3}, {"crops": 3}])
    def test_images_have_no_frames(self, config, changes):
        ((name, value),) = changes.items()
        with pytest.raises(
            ValueError, match=rf"{name}={value} is meant for videos, but dataset=toy holds images"
        ):
            config(**changes)

    def test_nor_clips(self, config):
        with pytest.raises(LosaError, match="dataset=toy holds no videos to take clips of"):
            extract(config(splits=["train800-clips2x1"]))

    def test_a_file_named_like_a_clip(self, settings, film, root):
        film(root / "train/run/a.mp4?clip=1of2&crop=1of1.mp4")
        (root / "train/run/a.mp4?clip=1of2&crop=1of1.mp4").rename(
            root / "train/run/x.mp4?clip=1of2&crop=1of1"
        )
        (root / "test.txt").write_text("train/run/x.mp4?clip=1of2&crop=1of1 0\n")
        with pytest.raises(LosaError, match="has the form of a clip's key; rename the file"):
            extract(settings(dataset={"kind": "lists"}))

    def test_eight_frames_are_the_default(self, settings):
        assert settings(frames=None).sampling == FrameSampling(frames=8)


KILLED = """
import json, os, signal, sys
from pydantic import TypeAdapter
from losa.extract import ExtractConfig, clip_loader, extract

decode, calls = clip_loader.decode_video, 0

def counted(*arguments):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*arguments)

clip_loader.decode_video = counted
extract(TypeAdapter(ExtractConfig).validate_json(sys.argv[1]))
"""


def test_a_killed_extraction_resumes_to_identical_bytes(settings, tmp_path, tree, run_alone):
    options = {"rows_per_shard": 2, "codec": "float16", "splits": ["train"]}
    whole = tmp_path / "whole"
    extract(settings(cache=str(whole), **options))
    killed = settings(cache=str(tmp_path / "killed"), **options)
    assert run_alone(KILLED, json.dumps(asdict(killed)), "5").returncode == -signal.SIGKILL
    assert 0 < len(list((tmp_path / "killed").rglob("commit.*.json"))) < 4
    extract(killed)
    assert tree(tmp_path / "killed") == tree(whole)
