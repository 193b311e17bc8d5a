import pytest

from losa.cache_format import LosaError
from losa.extract.sources.text import first_line, read_text


def write(folder, data):
    file = folder / "list.txt"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
def test_a_named_encoding_is_used_and_its_mark_skipped(tmp_path, encoding):
    file = write(tmp_path, "größe 1\n".encode(encoding))
    assert read_text(file, encoding) == "größe 1\n"
    assert first_line(file, encoding) == "größe 1"


@pytest.mark.parametrize("name", ["latin-x", "hex", "rot13", "idna", "undefined", "utf\0", ""])
def test_an_unknown_encoding_is_refused(tmp_path, name):
    with pytest.raises(LosaError, match=rf"^dataset\.encoding={name}: there is no such encoding"):
        read_text(write(tmp_path, b"x"), name)


def test_a_wrong_encoding_is_named_with_the_line(tmp_path):
    file = write(tmp_path, b"a\r\nb\r\nc\xff")
    with pytest.raises(LosaError, match=r"list\.txt, line 3: byte 0xff is not ascii\. .*ascii is not it$"):
        read_text(file, "ascii")


def test_utf_16_without_a_mark_is_recognised(tmp_path):
    with pytest.raises(LosaError, match=r"line 1: holds a NUL character.*dataset\.encoding=utf-16-le"):
        read_text(write(tmp_path, "a 1\n".encode("utf-16-le")), None)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(LosaError, match=r"gone\.txt cannot be read: No such file"):
        read_text(tmp_path / "gone.txt", None)
