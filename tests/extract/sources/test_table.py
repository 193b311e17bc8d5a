import unicodedata
from datetime import date

import numpy as np
import pytest

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source

NFD = unicodedata.normalize("NFD", "größe")
NFC = unicodedata.normalize("NFC", "größe")


@pytest.fixture
def pictures(tmp_path, paint):
    """Six pictures, 0.png to 5.png, in a folder ``pictures``."""
    for number in range(6):
        paint(tmp_path / f"pictures/{number}.png", number)
    return tmp_path / "pictures"


@pytest.fixture
def table(pictures):
    """``table(text, **fields)``: a data set whose table has some content; its name is ``file``."""

    def make(content, file="table.csv", **fields):
        (pictures / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_source(DatasetConfig(kind="table", name="t", root=str(pictures), file=file, **fields))

    return make


def labels_of(source, split="all"):
    contents = source.contents(split)
    return {name: values.tolist() for name, values in contents.labels.items()}


def test_columns_are_found_by_their_names_and_told(table, pictures):
    source = table("id,filename,label\n7,0.png,1\n8,1.png,0\n")
    assert source.splits == ("all",)
    assert source.contents("all").keys == ["0.png", "1.png"]
    assert labels_of(source) == {"label": [1, 0]}
    assert source.columns[0].num_classes == 2
    assert source.notes == (
        f"{pictures}/table.csv: images from column 'filename', labels from column 'label'",
    )


def test_any_column_of_files_and_the_only_other_one_are_found(table):
    source = table(",kind,which\n0,cat,0.png\n1,ant,1.png\n")
    assert labels_of(source) == {"kind": [1, 0]}
    assert source.columns[0].classes == ("ant", "cat")


def test_columns_that_are_told_are_used_without_a_note(table):
    source = table(
        "file,other,species,colour,label,set\n0.png,1.png,cat,2,9,train\n1.png,0.png,ant,,9,test\n",
        image_column="other",
        label_columns=["species", "colour"],
        split_column="set",
    )
    assert source.splits == ("train", "test")
    assert source.contents("train").keys == ["1.png"]
    assert labels_of(source, "train") == {"species": [1], "colour": [2]}
    assert labels_of(source, "test") == {"species": [0], "colour": [-1]}
    assert [column.num_classes for column in source.columns] == [2, 3]
    assert source.notes == ()


def test_a_column_of_splits_is_found_by_its_name(table):
    source = table("file,label,Split\n0.png,1,test\n1.png,0,train\n2.png,1,test\n3.png,0,dev\n")
    assert source.splits == ("train", "test", "dev")
    assert source.contents("test").keys == ["0.png", "2.png"]
    assert "splits from column 'Split'" in source.notes[0]


def test_a_table_may_have_no_labels(table):
    source = table("file\n0.png\n1.png\n")
    assert source.columns == ()
    assert source.contents("all").labels == {}


def test_several_tables_are_splits_with_the_same_classes(table, pictures):
    (pictures / "train.csv").write_text("file,label\n0.png,cat\n1.png,bee\n")
    source = table("file,label\n2.png,cat\n3.png,ant\n", "test.csv")
    both = DatasetConfig(kind="table", name="t", root=str(pictures), file=["test.csv", "train.csv"])
    source = open_source(both)
    assert source.splits == ("train", "test")
    assert source.columns[0].classes == ("ant", "bee", "cat")
    assert labels_of(source, "train") == {"label": [2, 1]}
    assert labels_of(source, "test") == {"label": [2, 0]}


def test_one_split_in_two_tables_is_refused(table, pictures):
    (pictures / "a.csv").write_text("file,label,split\n0.png,1,train\n")
    (pictures / "b.csv").write_text("file,label,split\n1.png,1,train\n")
    with pytest.raises(LosaError, match=r"b\.csv: another table has images of split 'train', too"):
        open_source(DatasetConfig(kind="table", name="t", root=str(pictures), file=["a.csv", "b.csv"]))


@pytest.mark.parametrize("values", ["1,,0", "1.0,,0.0", "1,-1,0", " 1,-1.0,0 "])
def test_a_missing_number_is_no_label(table, values):
    source = table(
        "file,label\n" + "".join(f"{row}.png,{value}\n" for row, value in enumerate(values.split(",")))
    )
    assert labels_of(source) == {"label": [1, -1, 0]}
    assert source.columns[0].num_classes == 2


def test_a_missing_name_is_no_label(table):
    source = table("file,label\n0.png,cat\n1.png,\n2.png,-1\n3.png,ant\n")
    assert labels_of(source) == {"label": [1, -1, -1, 0]}


def test_numbers_among_names_are_names_and_told(table):
    source = table("file,label\n0.png,A\n1.png,7\n")
    assert source.columns[0].classes == ("7", "A")
    assert source.notes[1] == "column 'label' holds names and numbers (7): all are names of classes"


@pytest.mark.parametrize("value", ["0.53", "-2", "nan", "1e3", "2147483647"])
def test_numbers_that_are_no_labels_are_refused(table, value):
    with pytest.raises(LosaError) as caught:
        table(f"file,label\n0.png,1\n\n1.png,{value}\n")
    assert str(caught.value).endswith(
        "table.csv, line 4: expected a label in column 'label', a number from 0, or -1 or nothing for an "
        f"image without one, found {value!r}"
    )


def test_labels_far_beyond_the_number_of_classes_are_refused(table):
    content = "file,year\n0.png,2024\n1.png,2025\n"
    with pytest.raises(LosaError, match=r"the highest year is 2,025, but only 2 different ones occur"):
        table(content)
    assert table(content, num_classes=3000).columns[0].num_classes == 3000


def test_num_classes_is_that_of_one_column(table):
    with pytest.raises(LosaError, match=r"num_classes=5 is meant for one label column, not for a, b"):
        table("file,a,b\n0.png,1,2\n", label_columns=["a", "b"], num_classes=5)
    with pytest.raises(LosaError, match=r"num_classes=5, but column 'a' names 1 class"):
        table("file,a,b\n0.png,x,2\n", label_columns=["a"], num_classes=5)


@pytest.mark.parametrize(
    ("content", "file"),
    [
        ("file;label\r\n0.png;1\r\n", "t.csv"),
        ("file\tlabel\n0.png\t1\n", "t.csv"),
        ("file\tlabel,or,not\n0.png\t1\n", "t.tsv"),
        ('"file","label"\n"0.png","1"\n', "t.csv"),
        ("file, label\n0.png, 1\n", "t.csv"),
        ("\n\nfile,label\n\n0.png,1", "t.CSV"),
        ("file,label\n0.png,1\n".encode("utf-8-sig"), "t.csv"),
        ("file,label\n0.png,1\n".encode("utf-16"), "t.csv"),
        ("file,label\n.\\0.png,1\n", "t.csv"),
    ],
)
def test_dialects_of_csv_are_read(table, content, file):
    source = table(content, file)
    assert source.contents("all").keys == ["0.png"]
    assert list(labels_of(source).values()) == [[1]]


def test_names_are_composed(table, pictures, paint):
    paint(pictures / f"{NFC}.png")
    source = table(f"file,label\n{NFD}.png,{NFD}\n0.png,{NFC}\n")
    assert source.contents("all").keys == [f"{NFC}.png", "0.png"]
    assert source.columns[0].classes == (NFC,)


def test_another_encoding_is_asked_for_and_used(table, pictures, paint):
    content = f"file,label\n0.png,1\n1.png,{NFC}\n".encode("latin-1")
    with pytest.raises(LosaError, match=r"line 3: byte 0xf6 is not UTF-8.*dataset\.encoding=latin-1"):
        table(content)
    assert table(content, encoding="latin-1").columns[0].classes == ("1", NFC)


def test_the_name_of_a_column_is_made_one_of_a_cache(table):
    assert table("file,Kind of cat\n0.png,1\n").columns[0].name == "Kind_of_cat"
    with pytest.raises(LosaError, match="column 'a_b' cannot be a label column"):
        table("file,a b,a_b\n0.png,1,2\n", label_columns=["a b", "a_b"])
    with pytest.raises(LosaError, match="column '猫' cannot be a label column"):
        table("file,猫\n0.png,1\n")


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        ("", {}, r"table\.csv has no rows"),
        ("file,label\n", {}, r"table\.csv has no rows"),
        ("file,label\n0.png,1\n1.png\n", {}, r"line 3: expected 2 values, as many as .*, found 1"),
        ("file,label\n0.png,1\n1.png,2,3\n", {}, r"line 3: expected 2 values, as many as .*, found 3"),
        (
            'file,label\n0.png,1\n"1.png,2\n2.png,3\n',
            {},
            r'line 3: a quote \("\) is opened and never closed; a quote',
        ),
        ('file,label\n"0.png"x,1\n', {}, r"line 2: expected a comma after a closing quote; a quote inside a"),
        ('file\tlabel\n"0.png"x\t1\n', {}, r"line 2: expected a tab after a closing quote; a quote inside a"),
        (
            "file|label\n0.png|1\n",
            {},
            r"image_column=\.\.\. If there are more columns: commas, semicolons or",
        ),
        ("file,file\n0.png,1\n", {}, r"two columns are named 'file'"),
        ("0.png,1\n1.png,2\n", {}, r"the first line has to name the columns, found an image in it"),
        (
            "file,label\ngone.png,1\n",
            {},
            r"no column names files below .* row: file='gone.png', label='1'\.",
        ),
        (
            "file,a,b\n0.png,1,2\n",
            {},
            r"of the columns a, b are labels\? .*dataset\.label_columns=\[a\]",
        ),
        ("file,label\n0.png,1\n", {"label_columns": ["lable"]}, r"no column 'lable'; it has: file, label"),
        ("file,label\n0.png,1\n", {"image_column": "x"}, r"no column 'x'; it has: file, label"),
        ("file,label\n0.png,1\n", {"split_column": "x"}, r"no column 'x'; it has: file, label"),
        ("file,label,split\n0.png,1,a b\n", {}, r"line 2: split 'a b' in column 'split': a name has"),
        ("file,label,split\n0.png,1,\n", {}, r"line 2: split '' in column 'split': a name has"),
        ("file,label\n0.png,1\n,2\n", {}, r"line 3: column 'file' names no image"),
        ("file,label\n0.png,1\n../1.png,2\n", {}, r"line 3: paths are relative to"),
    ],
)
def test_what_is_wrong_is_named(table, content, fields, message):
    with pytest.raises(LosaError, match=message):
        table(content, **fields)


def test_missing_and_repeated_images_are_named_with_their_lines(table, pictures):
    with pytest.raises(LosaError, match=rf"line 4: there is no file {pictures}/gone\.png"):
        table("file,label\n0.png,1\n\ngone.png,1\n").contents("all")
    with pytest.raises(LosaError, match=r"line 4: image '0\.png' is listed twice, first in line 2"):
        table("file,label\n0.png,1\n\n./0.png,1\n").contents("all")


def test_a_value_of_two_lines_does_not_shift_the_lines(table):
    with pytest.raises(LosaError, match=r"line 4: expected 3 values"):
        table('file,label,text\n0.png,1,"a\nb"\n1.png,2\n')


def test_a_table_has_to_be_named(pictures):
    with pytest.raises(LosaError, match=r"dataset=t needs dataset\.file="):
        open_source(DatasetConfig(kind="table", name="t", root=str(pictures)))
    with pytest.raises(LosaError, match=r"gone\.csv cannot be read: No such file"):
        open_source(DatasetConfig(kind="table", name="t", root=str(pictures), file="gone.csv"))


class TestParquet:
    @pytest.fixture
    def parquet(self, pictures):
        """``parquet(columns, **fields)``: the same for a Parquet file."""
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet as files

        def make(columns, **fields):
            files.write_table(arrow.table(columns), pictures / "t.parquet")
            return open_source(
                DatasetConfig(kind="table", name="t", root=str(pictures), file="t.parquet", **fields)
            )

        return make

    def test_columns_of_every_plain_type_are_read(self, parquet):
        import pyarrow as arrow

        source = parquet(
            {
                "file": ["0.png", "1.png", "2.png"],
                "whole": arrow.array([2, None, 0], arrow.int8()),
                "split": arrow.array(["train", "test", "train"]).dictionary_encode(),
                "number": [1.0, 0.0, float("nan")],
                "flag": [True, False, None],
                "name": arrow.array(["cat", None, "ant"], arrow.large_string()),
                "day": [date(2026, 11, 25), None, date(2025, 1, 1)],
                "picture": [{"bytes": b"x"}] * 3,
                "bytes": [b"x"] * 3,
            },
            label_columns=["whole", "number", "flag", "name", "day"],
        )
        assert source.splits == ("train", "test")
        assert source.contents("train").keys == ["0.png", "2.png"]
        train = {"whole": [2, 0], "number": [1, -1], "flag": [1, -1], "name": [1, 0], "day": [1, 0]}
        test = {"whole": [-1], "number": [0], "flag": [0], "name": [-1], "day": [-1]}
        assert labels_of(source, "train") == train
        assert labels_of(source, "test") == test
        assert all(values.dtype == np.int64 for values in source.contents("train").labels.values())

    def test_an_encoding_has_no_effect(self, parquet):
        with pytest.raises(LosaError) as refused:
            parquet({"file": ["0.png"], "label": [0]}, encoding="latin-1")
        assert str(refused.value) == (
            "dataset.encoding=latin-1 is of CSV files, and Parquet has its own: leave it out"
        )

    def test_rows_are_named(self, parquet, pictures):
        with pytest.raises(LosaError, match=r"t\.parquet, row 2: there is no file"):
            parquet({"file": ["0.png", "gone.png"], "label": [0, 1]}).contents("all")

    def test_no_thread_is_left(self, parquet, pictures, run_alone):
        """Workers are forked, and a thread of the parent would be in an unknown state in them."""
        parquet({"file": ["0.png"], "label": [0]})
        program = (
            "import pyarrow.parquet; from pathlib import Path;"
            "from losa.extract.sources.table_files import read_table_file as read;"
            "threads = lambda: len(list(Path('/proc/self/task').iterdir()));"
            f"before = threads(); read(Path({str(pictures / 't.parquet')!r}), None);"
            "assert threads() == before, threads() - before"
        )
        done = run_alone(program)
        assert done.returncode == 0, done.stderr

    def test_a_damaged_file_is_named(self, parquet, pictures):
        (pictures / "t.parquet").write_bytes(b"PAR1 no PAR1")
        with pytest.raises(LosaError, match=r"t\.parquet is no Parquet file that can be read"):
            open_source(DatasetConfig(kind="table", name="t", root=str(pictures), file="t.parquet"))
        with pytest.raises(LosaError, match=r"gone\.parquet cannot be read: No such file"):
            open_source(DatasetConfig(kind="table", name="t", root=str(pictures), file="gone.parquet"))


def test_without_pyarrow_it_is_said_what_to_install(pictures, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[parquet\]'"):
        open_source(DatasetConfig(kind="table", name="t", root=str(pictures), file="t.parquet"))
