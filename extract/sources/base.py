"""The interface between data sets and extraction."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES


class InvalidImage(LosaError):  # noqa: N818 -- reads as a sentence: "raise InvalidImage"
    """An image that cannot be decoded. The message is the reason, which is recorded in the cache.

    So it must be the same on every machine: it names no folder. The key is added where it is shown.
    """


StoredImage = bytes | Image.Image
"""An image as a source holds it: encoded, or as pixels."""


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """The frames of a video that is stored as images, in their order."""

    frames: tuple[StoredImage, ...]


Stored = StoredImage | StoredFrames
"""What a source holds: an image, the bytes of an encoded video, or the frames of a video."""


@runtime_checkable  # so that beartype can check it while the tests run
class StoredImages(Protocol):
    """Images that are known by keys. They can be pickled: each decoding process has its own copy."""

    def read(self, key: str) -> Stored:
        """The bytes of an encoded image or video or, where they are not encoded, pixels or frames.

        Args:
            key: the key of an image.

        Raises:
            InvalidImage: there is no such image, for a reason that is a property of the data set.
            LosaError: the image cannot be read at the moment, for a reason that may pass.
        """


@runtime_checkable
class ImageSource(StoredImages, Protocol):
    """A labelled set of images in named splits.

    A source can be pickled, because each decoding process has its own copy. Keys and labels are known
    without decoding an image.
    """

    @property
    def columns(self) -> tuple[LabelColumn, ...]:
        """The label columns, which are the same for all splits."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that exist, in their usual order."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the data set, a line each, such as which files are left out."""

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split.

        Args:
            split: one of `splits`.

        Returns:
            For each image its key, which is the same in all splits that have the image, and its label in
            each of `columns`, -1 for none.

        Raises:
            LosaError: there is no such split, it is empty, or its list of images is wrong.
        """


def hash_source(stored: Stored) -> bytes:
    """blake2b-128 hash of the bytes of an image or a video, of pixels if not encoded, or of all frames."""
    if isinstance(stored, StoredFrames):
        of_frames = b"".join(map(hash_source, stored.frames))
        return hashlib.blake2b(of_frames, digest_size=SOURCE_HASH_BYTES).digest()
    data = stored.tobytes() if isinstance(stored, Image.Image) else stored
    return hashlib.blake2b(data, digest_size=SOURCE_HASH_BYTES).digest()


def read_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        InvalidImage: the file does not exist.
        LosaError: the machine could not read it at the moment (storage, permissions, memory).
    """
    with failing_not_now(path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            # The error's own text would name the folder.
            raise InvalidImage(error.strerror or "No such file or directory") from None


def not_now(image: Path | str, reason: str | None) -> LosaError:
    """The error for an image that the machine cannot read or decode at the moment; the image may be valid."""
    return LosaError(
        f"{image}: {reason or 'cannot be read'}. The image may be whole, so it is not marked invalid: "
        "remove the cause and run the same command again"
    )


@contextmanager
def failing_not_now(image: Path | str) -> Iterator[None]:
    """A context in which what the machine lacks, memory or an answer of its storage, becomes `not_now`."""
    try:
        yield
    except MemoryError:
        raise not_now(image, "not enough memory") from None
    except OSError as error:
        raise not_now(image, error.strerror) from None


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC), as it is used for keys and names of classes."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def spellings(paths: Iterable[str]) -> dict[str, str]:
    """Key -> path, for the paths that differ from their keys; see `composed`.

    Raises:
        LosaError: two paths have the same key.
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
        "rename one of the files, or spell it the same in all lists"
    )


def unknown_split(split: str, known: tuple[str, ...]) -> LosaError:
    """The error for a split that does not exist."""
    return LosaError(f"there is no split {split!r}; there are: {', '.join(known) or 'none'}")
