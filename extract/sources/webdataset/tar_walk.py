"""Walks through the headers of a tar, which say where in it each file is."""

import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from losa.cache_format.errors import LosaError

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_CHUNK = 2**20


class TarMember(NamedTuple):
    """A file in a tar."""

    name: str
    """Its path, normalised."""
    offset: int
    """Position of its first byte in the tar."""
    size: int
    """Its size in bytes."""
    content: bytes | None = None
    """Its bytes, if they were wanted."""


class TarWalk:
    """The files in a tar, in their order; hard and symbolic links to them come last.

    The headers between the files are read, and the files that are wanted. The other files are skipped.
    """

    def __init__(self, file: BinaryIO, place: str, wanted: Callable[[str], bool]) -> None:
        """Begin a walk.

        Args:
            file: the tar, from its first byte. It has to be seekable.
            place: path or URL of the tar, for messages.
            wanted: says by the name of a file whether its content is read.
        """
        self.dangling: list[str] = []
        """Links that lead to no file in the tar, known at the end of the walk."""
        self._file = file
        self._place = place
        self._wanted = wanted
        self._places: dict[str, TarMember] = {}
        self._links: dict[str, str] = {}

    def __iter__(self) -> Iterator[TarMember]:
        """Walk through the tar.

        Raises:
            LosaError: it is compressed, damaged, truncated or followed by something else.
        """
        self._refuse_compressed()
        try:
            tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 -- holds no file of its own
        except (tarfile.TarError, ValueError) as error:
            raise LosaError(f"{self._place} is no tar file ({error}): copy or download it again") from None
        yield from self._walk(tar)
        for name in self._links:
            target = self._follow(name)
            if target is None:
                self.dangling.append(name)
            else:
                self._file.seek(target.offset)
                yield self._member(name, target.offset, target.size)

    def _walk(self, tar: tarfile.TarFile) -> Iterator[TarMember]:
        last = "its beginning"
        while True:
            try:
                header = tar.next()
            except (tarfile.TarError, ValueError) as error:
                raise self._damaged(tar.offset, last, str(error)) from None
            if header is None:
                break
            tar.members.clear()  # type: ignore[attr-defined]  # all that were read, in memory
            last = repr(header.name)
            name = posixpath.normpath(header.name)
            if header.issparse():
                raise LosaError(f"{self._place}: {last} is a sparse file: pack the tar without --sparse")
            if header.isreg():
                self._file.seek(header.offset_data)
                member = self._member(name, header.offset_data, header.size)
                self._places[name] = member._replace(content=None)
                yield member
            elif header.islnk():
                self._links[name] = posixpath.normpath(header.linkname)
            elif header.issym():
                self._links[name] = posixpath.normpath(
                    posixpath.join(posixpath.dirname(name), header.linkname)
                )
        self._refuse_unended(tar.offset, last)

    def _member(self, name: str, offset: int, size: int) -> TarMember:
        """A file, whose content is read from the current position if it is wanted."""
        if not self._wanted(name):
            return TarMember(name, offset, size)
        content = self._file.read(size)
        if len(content) < size:
            raise self._damaged(offset + len(content), repr(name), "unexpected end of data")
        return TarMember(name, offset, size, content)

    def _follow(self, name: str) -> TarMember | None:
        for _ in range(len(self._links)):  # longer than any chain of links that ends
            name = self._links[name]
            if name in self._places:
                return self._places[name]
            if name not in self._links:
                return None
        return None

    def _refuse_compressed(self) -> None:
        start = self._file.read(max(map(len, _COMPRESSED)))
        self._file.seek(0)
        for mark, method in _COMPRESSED.items():
            if start.startswith(mark):
                raise LosaError(
                    f"{self._place} is compressed ({method}), so that no image in it could be read without "
                    "unpacking all that precede it: decompress the shards"
                )

    def _refuse_unended(self, end: int, last: str) -> None:
        """Refuse a tar without the zeros that end it: tarfile takes any damage between members for an end."""
        self._file.seek(end)
        block = self._file.read(tarfile.BLOCKSIZE)
        if not block:
            raise LosaError(
                f"{self._place} ends at byte {end:,}, after {last}, without the zeros that end a tar: it is "
                "truncated. Copy or download it again (if it is whole, truncate --size=+1K adds the zeros)"
            )
        if len(block) < tarfile.BLOCKSIZE or any(block):
            raise self._damaged(end, last, "no valid header")
        position = end + len(block)
        while chunk := self._file.read(_CHUNK):
            if any(chunk):
                raise LosaError(
                    f"{self._place}: the tar ends at byte {end:,}, after {last}, but more follows after byte "
                    f"{position:,}, which would be left out. If tars were joined, take them apart, or list "
                    "the parts; GNU tar reads all of them with --ignore-zeros"
                )
            position += len(chunk)

    def _damaged(self, offset: int, last: str, reason: str) -> LosaError:
        return LosaError(
            f"{self._place} is truncated or damaged at byte {offset:,}, after {last} ({reason}): copy or "
            "download it again"
        )
