import io
import os
import tarfile
import unicodedata

import pytest

from losa.cache_format import LosaError
from losa.extract.sources.webdataset.sample_fields import USUAL_LABELS, SampleFields
from losa.extract.sources.webdataset.shard_index import index_shard


@pytest.fixture
def index(tmp_path, pack):
    """``index(members)``: the index of a tar of these files."""

    def make(members, image=None, labels=USUAL_LABELS):
        with pack(tmp_path / "x.tar", members).open("rb") as file:
            return index_shard(file, "x.tar", SampleFields(image, labels))

    return make


def test_members_of_a_sample_may_be_anywhere(index):
    found = index({"1.jpg": b"a", "2.png": b"bb", "2.cls": "5", "1.cls": "cat", "1.txt": "caption"})
    assert found.names == ["1.jpg", "2.png"]
    assert found.sizes == [1, 2]
    assert found.texts == {"cls": ["cat", "5"], "json.label": [None, None]}
    assert found.left_out == {}
    assert set(found.fields) == {"cls", "jpg", "png", "txt"}


def test_what_is_left_out_is_counted(index):
    found = index(
        {
            "1.jpg": b"a",
            "._1.jpg": b"x",
            "__MACOSX/2.jpg": b"x",
            "__info__/3.jpg": b"x",
            "a/.git/4.jpg": b"x",
            "README": b"x",
            "5.cls": "3",
            "6.txt": "x",
        }
    )
    assert found.names == ["1.jpg"]
    assert found.texts["cls"] == [None]
    assert found.left_out == {
        "hidden files": 4,
        "files without an extension": 1,
        "samples without an image": 2,
    }


def test_names_are_composed(index):
    decomposed = unicodedata.normalize("NFD", "ä")
    assert index({f"{decomposed}.jpg": b"a", "ä.cls": "3"}).texts["cls"] == ["3"]
    with pytest.raises(LosaError, match=r"holds 'ä\.jpg' twice"):
        index({f"{decomposed}.jpg": b"a", "ä.jpg": b"b"})


@pytest.mark.parametrize("members", [{"1.jpg": b"a", "1.JPG": b"b"}, {"1.cls": "1", "1.CLS": "2"}])
def test_a_member_that_is_there_twice_is_refused(index, members):
    with pytest.raises(LosaError, match=r"x\.tar holds '1\.\w+' twice"):
        index(members)


def test_several_images_of_a_sample_are_named(index):
    members = {"1.jpg": b"a", "1.depth.png": b"b", "2.jpg": b"c"}
    with pytest.raises(LosaError, match=r"x\.tar: sample '1' has several images: jpg, depth\.png"):
        index(members)
    assert index(members, "depth.png").names == ["1.depth.png"]
    assert index(members, "depth.png").left_out == {"samples without an image": 1}
    assert index(members, "depth.png;jpg").names == ["1.depth.png", "2.jpg"]


def test_a_wrong_label_is_named(index):
    with pytest.raises(LosaError, match=r"x\.tar: '1\.json' is no JSON"):
        index({"1.jpg": b"a", "1.json": "{"})


def test_names_that_are_not_utf_8_are_refused():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"gr\xf6\xdfe.jpg")))
    file.seek(0)
    with pytest.raises(LosaError, match=r"x\.tar: the file name .* is not UTF-8"):
        index_shard(file, "x.tar", SampleFields(None, ("cls",)))
