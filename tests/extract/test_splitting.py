import numpy as np
import pytest

from losa.cache_format import Cache, IdentityMismatch, LosaError, SplitContents
from losa.extract import extract
from losa.extract.splitting import cut


class OneSplit:
    splits = ("all",)
    columns = ()
    notes = ()

    def __init__(self, labels):
        self.labels = np.array(labels, np.int64)

    def contents(self, split):
        keys = [f"{number:04d}.png" for number in range(len(self.labels))]
        return SplitContents(name=split, keys=keys, labels={"label": self.labels})

    def read(self, key):
        raise NotImplementedError


LABELS = [0] * 60 + [1] * 30 + [2] * 10


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (0.8, {"train": 80, "test": 20}),
        (75, {"train": 75, "test": 25}),
        ([0.5, 0.2], {"train": 50, "test": 20}),
        ([0.7, 0.1, 0.2], {"train": 70, "val": 10, "test": 20}),
        ([50, 20, 30], {"train": 50, "val": 20, "test": 30}),
        ({"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}, dict.fromkeys("abcd", 25)),
        ({"only": 0.1}, {"only": 10}),
    ],
)
def test_parts_have_their_sizes_and_share_no_image(parts, expected):
    made = cut(OneSplit(LABELS), None, parts, 0)
    assert {part.name: len(part.keys) for part in made} == expected
    together = [key for part in made for key in part.keys]
    assert len(set(together)) == len(together)
    for part in made:
        assert list(part.keys) == sorted(part.keys)
        assert part.labels["label"].tolist() == [LABELS[int(key[:4])] for key in part.keys]
        counts = np.bincount(part.labels["label"], minlength=3)
        assert np.abs(counts - np.array([0.6, 0.3, 0.1]) * len(part.keys)).max() <= 1


def test_every_class_is_in_both_parts_where_it_can_be():
    train, test = cut(OneSplit(sorted(list(range(25)) * 4)), None, 0.75, 3)
    assert np.bincount(train.labels["label"]).tolist() == [3] * 25
    assert np.bincount(test.labels["label"]).tolist() == [1] * 25


def test_the_seed_decides_and_nothing_else():
    first, again, other = (cut(OneSplit(LABELS), None, 0.8, seed)[1].keys for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_data_set_that_grows_keeps_its_images_in_their_parts():
    few = cut(OneSplit(LABELS), None, 0.8, 0)
    more = cut(OneSplit([*LABELS, 2, 2]), None, 0.8, 0)
    for before, after in zip(few, more, strict=True):
        assert len(set(before.keys) - set(after.keys)) <= 2


@pytest.mark.parametrize(
    "parts", [1.0, 1.5, 0, -3, [0.8, 0.3], [0.5, 20], 101, [60, 60], 0.001, [], [1, 2, 3, 4], {"a": 0.0}]
)
def test_parts_that_do_not_fit(parts):
    with pytest.raises(LosaError, match=r"^split="):
        cut(OneSplit(LABELS), None, parts, 0)


@pytest.mark.parametrize(("parts", "shown", "images"), [(1, "1", "1 image"), ([1, 50], "[1,50]", "1 image")])
def test_a_part_of_one_class_is_not_trained_on(parts, shown, images):
    with pytest.raises(LosaError) as refused:
        cut(OneSplit(LABELS), None, parts, 0)
    assert str(refused.value) == (
        f"split={shown}: part 'train' of {images} would have images of one class at most, and a classifier "
        "needs two to be trained: take more images, or a fraction, such as split=0.8"
    )
    assert len(cut(OneSplit([0] * 5), None, 1, 0)[0].keys) == 1  # there is no other class
    assert len(cut(OneSplit(LABELS), None, [50, 1], 0)[1].keys) == 1


def test_a_data_set_with_splits_is_not_cut(config, photos):
    with pytest.raises(LosaError, match=r"split=0\.8 .* this one has train, val: leave it out"):
        extract(config(dataset={"kind": "folder", "root": str(photos)}, split=0.8))


def test_unless_it_is_said_which_split(config, photos):
    folder = {"kind": "folder", "root": str(photos)}
    parts = {"fit": 0.6, "held": 0.4}
    done = extract(config(dataset=folder, split=parts, split_of="train"))
    records = Cache(done.cache).manifest.splits
    assert [(record.name, record.images) for record in records] == [("fit", 4), ("held", 3)]
    assert records[0].rule == "split={fit:0.6,held:0.4} split_seed=0 split_of=train"
    with pytest.raises(LosaError, match="there is no split 'tarin'"):
        extract(config(dataset=folder, split=parts, split_of="tarin"))
    with pytest.raises(ValueError, match=r"split_of=train needs split=\.\.\."):
        config(split_of="train")
    with pytest.raises(ValueError, match=r"split_seed=3 needs split=\.\.\., the parts to cut"):
        config(split_seed=3)


class TestExtraction:
    @pytest.fixture
    def folder(self, photos):
        return {"kind": "folder", "root": str(photos / "train")}

    def test_cutting_later_extracts_nothing_again(self, config, folder):
        settings = config(dataset=folder)
        assert extract(settings).images == 7
        assert extract(config(dataset=folder, split=[4, 1, 2])).images == 0
        cache = Cache(settings.cache)
        sizes = {record.name: record.images for record in cache.manifest.splits}
        assert sizes == {"all": 7, "train": 4, "val": 1, "test": 2}
        rules = {record.name: record.rule for record in cache.manifest.splits}
        assert rules["all"] is None
        assert rules["test"] == "split=[4,1,2] split_seed=0"

    def test_another_seed_is_another_identity(self, config, folder):
        extract(config(dataset=folder, split=0.5))
        with pytest.raises(IdentityMismatch, match=r"train\.rule +expected 'split=0\.5 split_seed=1'"):
            extract(config(dataset=folder, split=0.5, split_seed=1))

    def test_a_part_can_be_requested_alone(self, config, folder):
        assert extract(config(dataset=folder, split=0.5, splits=["test"])).images == 3
        with pytest.raises(LosaError, match="the data set has no split 'all'; it has: train, test"):
            extract(config(dataset=folder, split=0.5, splits=["all"]))
