"""The seam between data sets and extraction."""

import hashlib
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from PIL import Image, UnidentifiedImageError

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.shards.commit import SOURCE_HASH_BYTES


class InvalidImage(LosaError):  # noqa: N818 -- reads as a sentence: "raise InvalidImage"
    """An image that cannot be read or decoded. The text is the reason; it goes into the cache.

    So it must be the same on every machine: it names no folder, and the reader adds the key.
    """


class SourceImage(NamedTuple):
    """A decoded image and the hash of the bytes it was decoded from."""

    image: Image.Image
    source_hash: bytes


@runtime_checkable  # so that beartype can check it while the tests run
class ImageSource(Protocol):
    """A labelled set of images in named splits.

    A source is picklable, so that decode workers can have one each. Keys and labels are known
    without decoding an image.
    """

    @property
    def columns(self) -> tuple[LabelColumn, ...]:
        """The label columns every split has."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that exist, in their usual order."""

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split.

        Raises:
            LosaError: there is no such split, it is empty, or its description is wrong.
        """

    def load(self, key: str) -> SourceImage:
        """Decode an image to RGB.

        Raises:
            InvalidImage: giving the reason; it is a property of the image.
            LosaError: the image cannot be read now, for a reason that may pass.
        """


def hash_source(data: bytes) -> bytes:
    """blake2b-128 of an image's bytes."""
    return hashlib.blake2b(data, digest_size=SOURCE_HASH_BYTES).digest()


def load_file(path: Path) -> SourceImage:
    """Read and decode an image file to RGB.

    Raises:
        InvalidImage: the file is gone, or its content cannot be decoded; that would be so again.
        LosaError: the machine could not read or decode it now (storage, permissions, memory).
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            rgb = image.convert("RGB")
    except UnidentifiedImageError:
        raise InvalidImage("not an image in a format that Pillow knows") from None
    except (FileNotFoundError, NotADirectoryError) as error:
        # Its own text would name the folder.
        raise InvalidImage(error.strerror or "No such file or directory") from None
    except MemoryError:
        raise not_now(path, "not enough memory") from None
    except OSError as error:
        # Only the system numbers its errors; Pillow's, of truncated data for one, have a text alone.
        if error.errno is not None:
            raise not_now(path, error.strerror) from None
        if "out of memory" in str(error):
            raise not_now(path, "not enough memory") from None
        raise InvalidImage(str(error)) from None
    # Pillow's decoders raise many types on damaged files, SyntaxError and struct.error among them.
    except Exception as error:
        raise InvalidImage(f"{type(error).__name__}: {error}") from None
    return SourceImage(rgb, hash_source(data))


def not_now(image: Path | str, reason: str | None) -> LosaError:
    """The error for an image that the machine could not read or decode, which says nothing of the image."""
    return LosaError(
        f"{image}: {reason or 'cannot be read'}. The image may be whole, so it is not marked invalid: "
        "mend the cause and run the same command again; finished shards are kept"
    )


def composed(text: str) -> str:
    """A path as a key, or a folder's name as a class: in Unicode's composed form, NFC."""
    return unicodedata.normalize("NFC", text)


def spellings(paths: Iterable[str]) -> dict[str, str]:
    """Key -> path, for the paths that are spelt differently; see `composed`.

    Raises:
        LosaError: two paths have one key.
    """
    path_of: dict[str, str] = {}
    alike = set()
    for path in paths:
        key = composed(path)
        if key == path:
            alike.add(path)
        elif path_of.setdefault(key, path) != path:
            raise _two_spellings(key)
    for key in path_of.keys() & alike:
        raise _two_spellings(key)
    return path_of


def _two_spellings(key: str) -> LosaError:
    return LosaError(
        f"image {key!r} is listed twice, in two Unicode spellings (composed and decomposed) that look alike: "
        "rename one of the files, or spell it alike in all lists"
    )


def unknown_split(split: str, known: tuple[str, ...]) -> LosaError:
    """The error for a split that does not exist."""
    return LosaError(f"there is no split {split!r}; there are: {', '.join(known) or 'none'}")
