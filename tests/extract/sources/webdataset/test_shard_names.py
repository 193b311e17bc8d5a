import pytest
from upath import UPath

from losa.cache_format import LosaError
from losa.extract.sources.webdataset.shard_names import name_shards


@pytest.fixture
def root(tmp_path):
    """``root(names)``: a folder with empty files of these names."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_braces_are_expanded_and_stars_matched(root):
    folder = root("b/1.tar", "b/2.tar", "b/x.txt")
    assert name_shards(folder, "a-{08..10}.tar") == {"all": ("a-08.tar", "a-09.tar", "a-10.tar")}
    assert name_shards(folder, ["./x.tar", "b//{a,b}.tar"]) == {"all": ("x.tar", "b/a.tar", "b/b.tar")}
    shards = name_shards(folder, {"test": "b/*.tar", "train": ["{0..1}.tar", "b/1.tar"]})
    assert shards == {"test": ("b/1.tar", "b/2.tar"), "train": ("0.tar", "1.tar", "b/1.tar")}
    assert list(shards) == ["test", "train"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("b.tar", "a/c.TAR", "x.tar.gz", "._b.tar"), {"all": ("a/c.TAR", "b.tar")}),
        (
            ("test-0.tar", "train-1.tar", "train-0.tar"),
            {"train": ("train-0.tar", "train-1.tar"), "test": ("test-0.tar",)},
        ),
        (("Train/0.tar", "val/0.tar"), {"train": ("Train/0.tar",), "val": ("val/0.tar",)}),
        (("in1k-validation-0.tar",), {"validation": ("in1k-validation-0.tar",)}),
        (("training-set.tar",), {"all": ("training-set.tar",)}),
        (("train/train-0.tar",), {"train": ("train/train-0.tar",)}),
    ],
)
def test_splits_are_told_by_the_names_of_tars(root, names, splits):
    assert name_shards(root(*names), None) == splits


def test_remote_tars_are_listed():
    folder = UPath("memory://listed-shards/x")
    for name in ("train-0.tar", "sub/test-0.tar"):
        folder.fs.pipe(f"{folder.path}/{name}", b"")
    assert name_shards(folder, None) == {"train": ("train-0.tar",), "test": ("sub/test-0.tar",)}


@pytest.mark.parametrize(
    ("names", "patterns", "message"),
    [
        ((), None, r"holds no \.tar files"),
        (
            ("train-0.tar", "extra.tar"),
            None,
            r"shards of train, and others that would be left out: extra\.tar",
        ),
        (("train/val-0.tar",), None, r"val-0\.tar has the names of several splits in it, train, val"),
        ((), "x-{0..1.tar", r"dataset\.shards: 'x-\{0\.\.1\.tar': "),
        ((), "x-*.tar", r"no tar in .* matches 'x-\*\.tar'"),
        ((), "x.tar.gz", r"expected files ending in \.tar, found 'x\.tar\.gz'.*decompress"),
        ((), "pipe:cat x.tar", r"'pipe:cat x\.tar': nothing can be read at an offset"),
        ((), "s3://bucket/x.tar", r"relative to dataset\.root"),
        ((), "/x.tar", r"relative to dataset\.root"),
        ((), "a/../../x.tar", r"relative to dataset\.root"),
        ((), {"train": ["{0..2}.tar", "1.tar"]}, r"split 'train' names 1\.tar twice"),
    ],
)
def test_what_cannot_be_right_is_refused(root, names, patterns, message):
    with pytest.raises(LosaError, match=message):
        name_shards(root(*names), patterns)
