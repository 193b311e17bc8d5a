import unicodedata

import pytest

from losa.cache_format import LosaError
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING

NFD = unicodedata.normalize("NFD", "größe")
NFC = unicodedata.normalize("NFC", "größe")


def _load(source, key):
    return ImageLoader(source, DEFAULT_DECODING).load(key)


def _keys_and_labels(source, split):
    contents = source.contents(split)
    return list(contents.keys), contents.labels["label"].tolist()


def test_standard_splits_come_first_in_their_usual_order(vtab, lists):
    (vtab / "test.txt").write_text("images/val200/0.png 0\n")
    assert lists(vtab).splits == ("train800", "val200", "train800val200", "test")


def test_the_number_of_classes_is_taken_over_all_lists(vtab, lists):
    source = lists(vtab)
    assert source.contents("train800").labels["label"].max() == 1
    assert source.columns[0].num_classes == 3
    assert lists(vtab, num_classes=7).columns[0].num_classes == 7


def test_a_label_beyond_num_classes_is_refused(vtab, lists):
    with pytest.raises(LosaError, match=r"label is 2, but dataset\.num_classes=2 allows only 0 to 1"):
        lists(vtab, num_classes=2)


def test_a_missing_file_is_named_with_list_and_line(vtab, lists):
    gone = vtab / "images/val200/1.png"
    gone.unlink()
    (vtab / "val200.txt").write_text("images/val200/0.png 0\n\nimages/val200/1.png 1\n")
    source = lists(vtab)
    source.contents("train800")
    with pytest.raises(LosaError, match=f"{vtab}/val200.txt, line 3: there is no file {gone}"):
        source.contents("val200")


@pytest.mark.parametrize(
    "line",
    [
        "images/0.png",
        "images/0.png x",
        "images/0.png 1.5",
        "a.png -2",
        "a.png +1",
        "a.png \u0663",  # a digit, but of Arabic
        "a.png 2147483647",  # one more than a label space can hold
        f"a.png {'9' * 5000}",
        "7",
    ],
)
def test_a_malformed_line_is_named(vtab, lists, line):
    (vtab / "val200.txt").write_text(f"images/val200/0.png 0\n\n{line}\n")
    with pytest.raises(LosaError) as caught:
        lists(vtab)
    assert str(caught.value) == (
        f"{vtab}/val200.txt, line 3: expected 'path label', where the label is a number from 0, or -1 for an "
        f"image without one, found {line!r}"
    )


@pytest.mark.parametrize("line", ["images/0.png,0", "images/0.png, 0", "images/0.png; 0"])
def test_a_table_is_told_from_a_list(vtab, lists, line):
    (vtab / "val200.txt").write_text(line)
    with pytest.raises(LosaError, match=r"line 1: expected 'path label'.* dataset=table$"):
        lists(vtab)


def test_blank_lines_and_spaces_in_names_are_allowed(vtab, paint, lists):
    paint(vtab / "my cat.png")
    (vtab / "val200.txt").write_text("\n  my cat.png   2  \r\n\n")
    assert _keys_and_labels(lists(vtab), "val200") == (["my cat.png"], [2])


def test_an_empty_list_is_refused_when_it_is_asked_for(vtab, lists):
    (vtab / "val200.txt").write_text("\n")
    source = lists(vtab)
    assert len(source.contents("train800").keys) == 6
    with pytest.raises(LosaError, match="split 'val200' is empty"):
        source.contents("val200")


def test_an_image_that_is_listed_twice_is_refused(vtab, lists):
    (vtab / "val200.txt").write_text("images/val200/0.png 0\n./images/val200/0.png 0\n")
    with pytest.raises(LosaError, match=r"line 2: image 'images/val.*' is listed twice, first in line 1"):
        lists(vtab).contents("val200")


def test_a_folder_without_lists_is_told_what_is_expected(tmp_path, lists):
    with pytest.raises(LosaError, match=r"has no lists: expected train800\.txt, .*'path label'"):
        lists()


def test_a_decomposed_name_loads_by_its_composed_key(vtab, paint, lists):
    paint(vtab / f"{NFD}.png", 3)
    (vtab / "val200.txt").write_text(f"{NFD}.png 0\n")
    source = lists(vtab)
    assert source.contents("val200").keys == [f"{NFC}.png"]
    assert _load(source, f"{NFC}.png").image.size == (16, 20)


@pytest.mark.parametrize("path", ["/etc/picture.png", "../picture.png", "a/../../picture.png", "..\\a.png"])
def test_a_path_that_leaves_the_root_is_refused(vtab, lists, path):
    (vtab / "val200.txt").write_text(f"images/val200/0.png 0\n{path} 0\n")
    with pytest.raises(LosaError) as caught:
        lists(vtab).contents("val200")
    assert f"{vtab}/val200.txt, line 2: " in str(caught.value)


def test_absolute_paths_below_the_root_are_taken(vtab, lists, tmp_path):
    (tmp_path / "link").symlink_to(vtab)
    (vtab / "val200.txt").write_text(f"{vtab}/images/val200/0.png 0\n{tmp_path}/link/images/val200/1.png 1\n")
    assert lists(tmp_path / "link").contents("val200").keys == ["images/val200/0.png", "images/val200/1.png"]


def test_minus_one_is_an_image_without_a_label(vtab, lists):
    (vtab / "val200.txt").write_text("images/val200/0.png -1\nimages/val200/1.png 1\n")
    source = lists(vtab)
    assert source.contents("val200").labels["label"].tolist() == [-1, 1]
    assert source.columns[0].num_classes == 3


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("my cat.png\t2", "my cat.png"),
        ("my\tcat.png 2", "my\tcat.png"),
        ("my cat.png \t 2\t ", "my cat.png"),
        ('"my cat.png" 2', "my cat.png"),
        ("'my cat.png' 2", "my cat.png"),
        ("images\\val200\\0.png 2", "images/val200/0.png"),
        ('".\\images\\val200\\0.png" 2', "images/val200/0.png"),
        ("images//val200/./0.png 2", "images/val200/0.png"),
        ("back\\slash.png 2", "back\\slash.png"),
        ("'quoted.png' 2", "'quoted.png'"),
        ("line\x0b\x85\u2028break.png 2", "line\x0b\x85\u2028break.png"),
        ("no\xa0break.png 2", "no\xa0break.png"),
        (f"{NFD}.png 2", f"{NFC}.png"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_paths_are_read_as_people_write_them(vtab, paint, lists, written, name, end):
    for existing in ("my cat.png", "back\\slash.png", "quoted.png", f"{NFC}.png", "no\xa0break.png"):
        paint(vtab / existing)
    paint(vtab / "my\tcat.png")
    paint(vtab / "line\x0b\x85\u2028break.png")
    (vtab / "quoted.png").rename(vtab / "'quoted.png'")
    (vtab / "val200.txt").write_bytes(f"{written}{end}{end}images/val200/1.png 1{end}".encode())
    source = lists(vtab)
    assert _keys_and_labels(source, "val200") == ([name, "images/val200/1.png"], [2, 1])
    assert _load(source, name).image.size == (16, 20)


def test_a_key_is_the_same_however_lists_write_it(vtab, lists):
    (vtab / "val200.txt").write_text("images\\val200\\0.png 0\n")
    (vtab / "test.txt").write_text("'images/val200/0.png' 0\n")
    source = lists(vtab)
    assert source.contents("val200").keys == source.contents("test").keys == ["images/val200/0.png"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_heeded(vtab, paint, lists, encoding):
    paint(vtab / f"{NFC}.png")
    (vtab / "val200.txt").write_bytes(f"{NFC}.png 2\r\n".encode(encoding))
    assert lists(vtab).contents("val200").keys == [f"{NFC}.png"]


def test_another_encoding_is_asked_for_and_used(vtab, paint, lists):
    paint(vtab / f"{NFC}.png")
    (vtab / "val200.txt").write_bytes(f"images/val200/0.png 0\n{NFC}.png 2\n".encode("latin-1"))
    with pytest.raises(LosaError) as caught:
        lists(vtab)
    assert str(caught.value) == (
        f"{vtab}/val200.txt, line 2: byte 0xf6 is not UTF-8. Save the file as UTF-8, or name its encoding: "
        "dataset.encoding=latin-1, or another one"
    )
    assert lists(vtab, encoding="latin-1").contents("val200").keys[1] == f"{NFC}.png"


def test_every_list_is_a_split_and_the_usual_ones_come_first(vtab, lists):
    for name in ("train", "validation", "extra", "val"):
        (vtab / f"{name}.txt").write_text("images/val200/0.png 0\n")
    assert lists(vtab).splits == (
        "train",
        "train800",
        "val",
        "val200",
        "validation",
        "train800val200",
        "extra",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"These are the lists of a data set.\n", "its first line: expected 'path label'"),
        (b"ant 0\ncat 1\n", "its first line names no file: 'ant 0'"),
        (b"\n\n", "it is empty"),
        ("Größe\n".encode("latin-1"), "its first line: expected 'path label'"),
    ],
)
def test_text_files_that_are_no_lists_are_named(vtab, lists, content, reason):
    (vtab / "README.txt").write_bytes(content)
    source = lists(vtab)
    assert source.splits == ("train800", "val200", "train800val200")
    (note,) = source.notes
    assert note.startswith(f"{vtab}/README.txt is left out, as no list of images: {reason}")


def test_a_list_with_an_unusual_name_is_not_left_out_for_a_wrong_line(vtab, lists):
    for content in (
        b"gone.jpg 0\n",
        b"images/val200/0.png 0\nwrong\n",
        "gr\xf6\xdfe.jpg 0\n".encode("latin-1"),
    ):
        (vtab / "extra.txt").write_bytes(content)
        with pytest.raises(LosaError, match=r"extra\.txt, line [12]: "):
            lists(vtab).contents("extra")


def test_hidden_copies_of_lists_are_left_out(vtab, lists):
    (vtab / "._val200.txt").write_bytes(b"\0\5\x16\7\0")
    source = lists(vtab)
    assert "._val200" not in source.splits
    assert source.notes == (
        f"{vtab}/._val200.txt is left out, as no list of images: its name begins with a dot",
    )


def test_capitals_in_names_of_lists_do_not_matter(vtab, lists):
    (vtab / "notes.txt").mkdir()
    (vtab / "Test.TXT").write_text("gone.bin 1\n")
    assert lists(vtab).splits == ("train800", "val200", "train800val200", "Test")
    (vtab / "Test.txt").write_text("images/val200/0.png 1\n")
    with pytest.raises(LosaError, match=r"Test\.TXT and .*Test\.txt are lists of one split: rename one"):
        lists(vtab)


def test_labels_far_beyond_the_number_of_classes_are_refused_unless_asked_for(vtab, lists):
    (vtab / "val200.txt").write_text("images/val200/0.png 1000000\n")
    with pytest.raises(LosaError) as caught:
        lists(vtab)
    assert str(caught.value) == (
        f"{vtab}: the highest label is 1,000,000, but only 4 different ones occur. A network has an output "
        "for every class: if there are so many, say dataset.num_classes=1000001; otherwise number the "
        "classes from 0"
    )
    assert lists(vtab, num_classes=1000001).columns[0].num_classes == 1000001
