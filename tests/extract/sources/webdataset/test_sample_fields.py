import pytest

from losa.cache_format import LosaError
from losa.extract.sources.webdataset.sample_fields import SampleFields, split_name


@pytest.mark.parametrize(
    ("name", "key", "field"),
    [
        ("1.jpg", "1", "jpg"),
        ("a b/ö.JPG", "a b/ö", "jpg"),
        ("a.b/c.seg.png", "a.b/c", "seg.png"),
        ("README", None, ""),
        ("a.b/README", None, ""),
        ("a/._1.jpg", None, ""),
        (".jpg", None, ""),
    ],
)
def test_names_are_split_at_the_first_dot(name, key, field):
    assert split_name(name) == (key, field)


def test_the_only_image_is_chosen_and_several_are_named():
    fields = SampleFields(None, ("cls",))
    assert fields.is_image("jpg")
    assert fields.is_image("seg.webp")
    assert not fields.is_image("txt")
    assert fields.choose_image("a", ["jpg"]) == "jpg"
    with pytest.raises(LosaError, match=r"sample 'a' has several images: jpg, seg\.png\. .*image_field=jpg"):
        fields.choose_image("a", ["jpg", "seg.png"])


def test_of_alternatives_the_first_is_chosen():
    fields = SampleFields("PNG; jpg", ("cls",))
    assert not fields.is_image("webp")
    assert fields.choose_image("a", ["jpg", "png"]) == "png"
    assert fields.choose_image("a", ["jpg"]) == "jpg"


def test_the_chosen_field_need_not_look_like_an_image():
    assert SampleFields("bin", ("cls",)).is_image("bin")


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"7\n", "7"), (b"\xef\xbb\xbf cat ", "cat"), ("größe".encode(), "größe"), (b"  \n", None)],
)
def test_a_member_is_a_label(content, text):
    assert SampleFields(None, ("cls",)).texts("cls", content) == {"cls": text}


def test_entries_of_json_are_labels():
    fields = SampleFields(None, ("json.a", "json.b.c", "meta.json.d"))
    assert set(fields.label_members) == {"json", "meta.json"}
    assert fields.texts("json", b'{"a": 3, "b": {"c": " cat "}}') == {"json.a": "3", "json.b.c": "cat"}
    assert fields.texts("json", b'{"a": null, "b": 1}') == {"json.a": None, "json.b.c": None}
    assert fields.texts("json", b'{"a": true, "b": {"c": 2.0}}') == {"json.a": "1", "json.b.c": "2"}
    assert fields.texts("meta.json", b'{"d": -1}') == {"meta.json.d": "-1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", r"is no UTF-8 text"),
        (b"{", r"is no JSON \("),
        (b"[" * 10**5, r"is no JSON \("),
        (b'{"a": [1, 2]}', r"expected a number from 0 or a name as a, found \[1, 2\]"),
        (b'{"a": 0.5}', r"found 0\.5"),
    ],
)
def test_what_is_no_label_is_refused(content, message):
    with pytest.raises(LosaError, match=message):
        SampleFields(None, ("json.a",)).texts("json", content)
