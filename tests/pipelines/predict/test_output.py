from pathlib import Path

import pytest
from PIL import Image

from losa.cache_format import LosaError
from losa.pipelines.predict.output import output_file, writing


def test_a_file_appears_whole_and_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with writing(path) as write:
        write("é\udcff\n")
        assert path.read_text() == "old"
    assert path.read_bytes() == b"\xc3\xa9\xff\n"


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing(tmp_path / "out.csv") as write:
        write("a")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with writing(None) as write:
        write("a\n")
    assert capsys.readouterr().out == "a\n"


def test_names_that_are_no_files_are_refused(tmp_path: Path) -> None:
    assert output_file(None) is None
    assert output_file(str(tmp_path / "out.csv")) == tmp_path / "out.csv"
    with pytest.raises(LosaError, match="expected the name of a file, found a folder"):
        output_file(str(tmp_path))
    with pytest.raises(LosaError, match=r"no folder .*nowhere: create it first"):
        output_file(str(tmp_path / "nowhere/out.csv"))


def test_a_file_that_is_no_text_is_not_replaced(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(photo)
    before = photo.read_bytes()
    with pytest.raises(
        LosaError, match=r"out=.*photo\.png: expected no file or a text, .* found another file"
    ):
        output_file(str(photo))
    assert photo.read_bytes() == before
    for name, content in (("empty.png", b""), ("earlier.csv", "image,é\n".encode())):
        (tmp_path / name).write_bytes(content)
        assert output_file(str(tmp_path / name)) == tmp_path / name
