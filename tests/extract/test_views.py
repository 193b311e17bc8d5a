import random
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from losa.cache_format import Cache, CorruptCache, LosaError
from losa.cache_format.views import View, parse_key
from losa.extract import extract, load_backbone, open_source
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform
from losa.extract.views import make_view

SITES = ("embed", "block.02", "block.05")


@pytest.fixture
def ramp() -> Image.Image:
    """Every pixel tells where it was: red grows from left to right, green from top to bottom."""
    rows, columns = np.mgrid[:120, :200]
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8))


def _where(view):
    """Left, top, right and bottom pixel of a crop of the ramp, and whether it is mirrored."""
    red, green, _ = np.moveaxis(np.asarray(view).astype(int), -1, 0)
    return red.min(), green.min(), red.max(), green.max(), red[0, 0] > red[0, -1]


def _views(image, view, count=200):
    return [_where(make_view(image, view, view.key(f"{number}.png"))) for number in range(count)]


class TestMakeView:
    def test_a_view_is_a_crop_and_nothing_else(self, ramp):
        view = View(number=1, crop=0.3, flip=True)
        made = make_view(ramp, view, view.key("a.png"))
        left, top, right, bottom, mirrored = _where(made)
        crop = np.asarray(ramp)[top : bottom + 1, left : right + 1]
        assert np.array_equal(np.asarray(made), crop[:, ::-1] if mirrored else crop)

    @pytest.mark.parametrize("crop", [0.2, 0.5])
    def test_crops_keep_their_part_of_the_area(self, ramp, crop):
        found = _views(ramp, View(number=1, crop=crop, flip=False))
        sizes = np.array([(right - left + 1, bottom - top + 1) for left, top, right, bottom, _ in found])
        areas = sizes.prod(axis=1) / (200 * 120)
        assert areas.min() >= crop - 0.02
        assert areas.max() > crop + 0.2
        assert 0.7 < (sizes[:, 0] / sizes[:, 1]).min() < (sizes[:, 0] / sizes[:, 1]).max() < 1.7
        assert len(set(found)) > 150

    @pytest.mark.parametrize("size", [(2000, 1125), (1200, 500), (300, 1000), (64, 64), (3, 2), (1, 40)])
    @pytest.mark.parametrize("crop", [0.3, 0.6, 0.9])
    def test_photographs_of_any_shape_are_cropped(self, size, crop):
        image = Image.new("L", size)
        view = View(number=1, crop=crop, flip=False)
        sizes = [make_view(image, view, view.key(f"{number}")).size for number in range(60)]
        assert all(width <= size[0] and height <= size[1] for width, height in sizes)
        if min(size) > 60:
            assert len(set(sizes)) > 15
            areas = [width * height / (size[0] * size[1]) for width, height in sizes]
            assert crop - 0.02 < min(areas) < max(areas) <= 1
            # As near to the usual shapes as fits: other crops have the photograph's whole width or height.
            assert all(0.74 < w / h < 1.35 or w == size[0] or h == size[1] for w, h in sizes)

    def test_crops_come_from_everywhere(self, ramp):
        found = np.array(_views(ramp, View(number=1, crop=0.3, flip=False)))
        assert found[:, 0].min() == found[:, 1].min() == 0
        assert found[:, 2].max() == 199
        assert found[:, 3].max() == 119

    def test_half_of_the_views_are_mirrored_if_any(self, ramp):
        for flip, least, most in ((True, 70, 130), (False, 0, 0)):
            mirrored = sum(entry[-1] for entry in _views(ramp, View(number=1, crop=0.5, flip=flip)))
            assert least <= mirrored <= most

    def test_the_key_alone_decides(self, ramp):
        view = View(number=1, crop=0.5, flip=True)
        first = make_view(ramp, view, view.key("a.png"))
        random.seed(4)
        assert np.array_equal(first, make_view(ramp, view, view.key("a.png")))
        assert _where(first) != _where(make_view(ramp, view, view.key("b.png")))

    def test_views_stay_the_same_in_later_versions(self, ramp):
        view = View(number=1, crop=0.5, flip=True)
        found = [tuple(map(int, _where(make_view(ramp, view, view.key(key))))) for key in "ab"]
        assert found == [(19, 0, 176, 119, 1), (29, 0, 198, 119, 0)]


class TestExtraction:
    @pytest.fixture
    def lists(self, vtab):
        return {"kind": "lists", "root": str(vtab)}

    def test_a_split_of_views_follows_its_split(self, config, lists):
        done = extract(config(dataset=lists, splits=["train800"], views=3, codec="float32"))
        assert done.images == 18
        cache = Cache(done.cache)
        assert [split.name for split in cache.manifest.splits] == ["train800", "train800-views3"]
        plain, viewed = cache.split("train800"), cache.split("train800-views3")
        assert viewed.keys[:6] == plain.keys
        parsed = [parse_key(key) for key in viewed.keys]
        assert [photograph for photograph, _ in parsed] == 3 * plain.keys
        assert [view and view.number for _, view in parsed] == 6 * [None] + 6 * [1] + 6 * [2]
        assert viewed.labels("label").tolist() == 3 * plain.labels("label").tolist()

    def test_values_are_the_backbones_activations_of_the_views(self, config, lists):
        settings = config(dataset=lists, splits=["val200"], views=2, codec="float32", batch_size=1)
        split = Cache(extract(settings).cache).split("val200-views2", SITES)
        backbone, source = load_backbone(settings.backbone), open_source(settings.dataset)
        source.contents("val200")
        transform = make_transform(backbone.preprocessing)
        loader = ImageLoader(source, DEFAULT_DECODING)
        expected = []
        for key in split.keys:
            photograph, view = parse_key(key)
            image = loader.load(photograph).image
            made = image if view is None else make_view(image, view, key)
            expected.append(backbone.activations(transform(made)[None], SITES).numpy())
        found = split.cache.codec(SITES).decode(split.read(np.arange(6)))
        assert np.array_equal(found, np.concatenate(expected))
        assert not np.array_equal(found[:3], found[3:])

    def test_views_may_be_added_to_a_cache_and_are_stored_once(self, config, lists, tmp_path):
        extract(config(dataset=lists))
        assert extract(config(dataset=lists, splits=["train800"], views=2)).images == 6
        # All of train800 and its first view are there.
        assert extract(config(dataset=lists, splits=["train800val200"], views=3)).images == 3 + 9
        assert extract(config(dataset=lists, splits=["train800val200"], views=3)).images == 0
        cache = Cache(tmp_path / "cache")
        both, one = cache.split("train800val200-views3"), cache.split("train800-views2")
        codes = [split.read(np.array([place])).values for split, place in ((both, 9 + 4), (one, 6 + 4))]
        assert both.keys[9 + 4] == one.keys[6 + 4]
        assert np.array_equal(*codes)

    def test_other_crops_are_other_views(self, config, lists):
        extract(config(dataset=lists, splits=["train800"], views=2))
        asked = config(dataset=lists, splits=["train800"], views=2, view_crop=0.5, view_flip=False)
        stored = (
            "'train800-views2' have view_crop=0.6 view_flip=true, requested are view_crop=0.5 view_flip=false"
        )
        with pytest.raises(LosaError, match=stored):
            extract(asked)
        # Under another number they have their place.
        assert extract(replace(asked, views=3)).images == 12

    def test_damage_is_mended_by_the_command_that_is_advised(self, config, lists, tmp_path, tree):
        extract(config(dataset=lists))
        extract(config(dataset=lists, splits=["train800"], views=2))
        before = tree(tmp_path / "cache")
        path = tmp_path / "cache/arrays.zarr/segments/train800-views2/keys/zarr.json"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CorruptCache, match="the view_crop and view_flip they were made with") as caught:
            extract(config(dataset=lists, splits=["train800"], views=2))
        (advised,) = re.findall(r"splits=\[([^]]+)\]", str(caught.value))
        assert extract(config(dataset=lists, splits=advised.split(","))).images == 0
        assert tree(tmp_path / "cache") == before

    def test_any_number_of_workers_gives_equal_bytes(self, config, lists, tmp_path, tree):
        for name, workers in (("a", 0), ("b", 2)):
            extract(
                config(
                    dataset=lists, splits=["train800"], views=2, workers=workers, cache=str(tmp_path / name)
                )
            )
        assert tree(tmp_path / "a") == tree(tmp_path / "b")

    def test_a_view_of_an_invalid_image_is_none(self, config, lists, vtab):
        (vtab / "images/val200/1.png").write_bytes(b"nothing")
        done = extract(config(dataset=lists, splits=["val200"], views=2, on_error="skip"))
        assert done.invalid == 2
        assert Cache(done.cache).split("val200-views2").valid.tolist() == 2 * [True, False, True]

    def test_limit_comes_first(self, config, lists):
        done = extract(config(dataset=lists, splits=["train800"], views=2, limit=2))
        assert done.images == 4

    def test_an_exchanged_photograph_is_noticed(self, config, lists, vtab, paint):
        extract(config(dataset=lists, splits=["val200"], views=2))
        paint(vtab / "images/val200/1.png", 77)
        with pytest.raises(LosaError, match="has changed since"):
            extract(config(dataset=lists, splits=["val200"], views=2))

    def test_views_of_every_split_have_to_be_meant(self, config):
        with pytest.raises(ValidationError, match=r"a-views2 in splits=.* leave out views=2"):
            config(splits=["a", "a-views2"], views=2)
        with pytest.raises(ValidationError, match=r"to train on: splits=\[train800val200\]"):
            config(splits=None, views=2)

    def test_an_empty_list_of_splits_is_refused(self, config):
        with pytest.raises(ValidationError, match="at least 1 item"):
            config(splits=[])

    def test_a_file_named_like_a_view_is_refused(self, config, lists, vtab):
        (vtab / "images/val200/1.png").rename(vtab / "images/val200/1.png?view=1&crop=0.5&flip=1")
        (vtab / "val200.txt").write_text("images/val200/1.png?view=1&crop=0.5&flip=1 0\n")
        with pytest.raises(LosaError, match="has the form of a view's key"):
            extract(config(dataset=lists, splits=["val200"]))


def test_a_view_has_the_hash_of_its_image(photos, config):
    source = open_source(config(dataset={"kind": "folder", "root": str(photos)}).dataset)
    loader = ImageLoader(source, DEFAULT_DECODING)
    key = source.contents("val").keys[0]
    viewed = loader.load(View(number=1, crop=0.3, flip=False).key(key))
    assert viewed.source_hash == loader.load(key).source_hash
    assert viewed.image.size != loader.load(key).image.size
