import io
import lzma
import tarfile
import zlib

import pytest

from losa.cache_format import LosaError
from losa.extract.sources.webdataset.tar_walk import TarWalk


def _walk(data, wanted=lambda name: False):
    walk = TarWalk(io.BytesIO(data), "x.tar", wanted)
    return list(walk), walk


@pytest.fixture
def tar(tmp_path, pack):
    """The bytes of a tar of three files."""
    return pack(tmp_path / "x.tar", {"./a.jpg": b"1" * 700, "b/c.cls": "7", "ä" * 200: b"22"}).read_bytes()


def _linked(*links):
    """A tar with the file d/1.jpg and some links: name, type, target."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        header = tarfile.TarInfo("d/1.jpg")
        header.size = 3
        for name, kind, target in links[:1]:
            _add_link(tar, name, kind, target)
        tar.addfile(header, io.BytesIO(b"abc"))
        for name, kind, target in links[1:]:
            _add_link(tar, name, kind, target)
    return file.getvalue()


def _add_link(tar, name, kind, target):
    link = tarfile.TarInfo(name)
    link.type = kind
    link.linkname = target
    tar.addfile(link)


def test_files_are_where_their_headers_say(tar):
    members, walk = _walk(tar, lambda name: name.endswith(".cls"))
    assert [member.name for member in members] == ["a.jpg", "b/c.cls", "ä" * 200]
    assert [member.content for member in members] == [None, b"7", None]
    for member, content in zip(members, (b"1" * 700, b"7", b"22"), strict=True):
        assert tar[member.offset : member.offset + member.size] == content
    assert walk.dangling == []


def test_an_empty_tar_holds_nothing():
    file = io.BytesIO()
    tarfile.open(fileobj=file, mode="w").close()
    assert _walk(file.getvalue())[0] == []


def test_links_are_the_files_that_they_lead_to():
    data = _linked(
        ("d/soft.jpg", tarfile.SYMTYPE, "../e/hard.jpg"),
        ("e/hard.jpg", tarfile.LNKTYPE, "d/1.jpg"),
        ("gone.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ("circle.jpg", tarfile.SYMTYPE, "circle.jpg"),
    )
    members, walk = _walk(data, lambda name: "d/" in name)
    assert [member.name for member in members] == ["d/1.jpg", "d/soft.jpg", "e/hard.jpg"]
    assert len({(member.offset, member.size) for member in members}) == 1
    assert [member.content for member in members] == [b"abc", b"abc", None]
    assert walk.dangling == ["gone.jpg", "circle.jpg"]


@pytest.mark.parametrize(
    ("method", "compress"),
    [
        ("gzip", lambda data: zlib.compress(data, wbits=31)),
        ("xz", lzma.compress),
    ],
)
def test_compressed_tars_are_refused_with_the_reason(tar, method, compress):
    with pytest.raises(
        LosaError, match=rf"x\.tar is compressed \({method}\), .* unpacking all .* decompress"
    ):
        _walk(compress(tar))


@pytest.mark.parametrize("data", [b"", b"no tar", b"no tar" * 1000], ids=len)
def test_what_is_no_tar_is_refused(data):
    with pytest.raises(LosaError, match=r"x\.tar is no tar file \("):
        _walk(data)


@pytest.mark.parametrize("length", range(513, 512 * 5, 211))
def test_a_tar_that_is_cut_off_is_refused_wherever_it_is(tar, length):
    with pytest.raises(LosaError, match=r"x\.tar (is truncated or damaged at byte|ends at byte)"):
        _walk(tar[:length])


def test_a_tar_without_its_end_is_not_taken_for_a_whole_one(tar):
    members, _ = _walk(tar)
    end = members[0].offset + 1024
    with pytest.raises(LosaError, match=rf"ends at byte {end:,}, after '\./a\.jpg', without the zeros"):
        _walk(tar[:end])
    assert [member.name for member in _walk(tar[:end] + bytes(1024))[0]] == ["a.jpg"]  # as the message says


def test_wanted_content_that_is_cut_off_is_refused(tar):
    members, _ = _walk(tar)
    with pytest.raises(LosaError, match=rf"damaged at byte {members[0].offset + 9:,}, after 'a\.jpg'"):
        _walk(tar[: members[0].offset + 9], lambda name: True)


def test_a_damaged_header_is_not_taken_for_the_end(tar):
    members, _ = _walk(tar)
    header = members[1].offset - 512
    broken = tar[: header + 3] + b"?" + tar[header + 4 :]
    with pytest.raises(
        LosaError, match=rf"damaged at byte {header:,}, after '\./a\.jpg' \(no valid header\)"
    ):
        _walk(broken)


def test_tars_that_are_joined_are_refused(tar):
    with pytest.raises(LosaError, match=r"the tar ends at byte .*, but more follows .* left out"):
        _walk(tar + tar)
    _walk(tar + bytes(5 * 10240))  # tape blocks
