from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.report.inputs.rows import number_in, read_rows


def written(folder: Path, content: bytes) -> Path:
    (folder / "results.csv").write_bytes(content)
    return folder / "results.csv"


def test_rows_by_the_names_of_columns(tmp_path: Path) -> None:
    path = written(tmp_path, b'name,lr\n"a, b",0.5\n')
    assert read_rows(path, ["lr"]) == [{"name": "a, b", "lr": "0.5"}]
    assert read_rows(path, ["lr", "rank"]) is None
    assert read_rows(tmp_path / "other.csv", ["lr"]) is None


@pytest.mark.parametrize("row", [b"1", b"1,2,3"])
def test_an_incomplete_line_is_refused(row: bytes, tmp_path: Path) -> None:
    with pytest.raises(LosaError, match=r"results.csv, line 3: expected as many cells"):
        read_rows(written(tmp_path, b"name,lr\n1,2\n" + row + b"\n"), ["lr"])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LosaError, match=r"results.csv is damaged: .*utf-8"):
        read_rows(written(tmp_path, b"name,lr\n\xff,2\n"), ["lr"])


def test_numbers(tmp_path: Path) -> None:
    row = {"lr": "1e-3", "seconds": "", "accuracy": "good"}
    assert number_in(tmp_path, row, "lr") == 1e-3
    assert number_in(tmp_path, row, "seconds") is None
    with pytest.raises(LosaError, match="column accuracy: expected a number, found 'good'"):
        number_in(tmp_path, row, "accuracy")
