"""Small pictures of images that a cache knows by their keys, where the images can still be reached."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.identity import ImageDecoding
from losa.extract.loader import ImageLoader
from losa.extract.sources.base import StoredImages, read_file

_SIDE = 128
"""Longest side of a thumbnail, in pixels."""


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images below a folder, whose keys are their paths relative to it."""

    folder: Path

    def read(self, key: str) -> bytes:
        """The bytes of an image file; see `StoredImages`."""
        return read_file(self.folder / key)


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Finds images in sources, one after the other."""

    sources: Sequence[StoredImages]
    decoding: ImageDecoding | None = None
    """Rules of decoding."""

    def with_rules(self, decoding: ImageDecoding | None) -> "Thumbnails":
        """The same sources, decoded as for a cache."""
        return replace(self, decoding=decoding)

    def find(self, key: str, source_hash: bytes) -> str | None:
        """A JPEG of an image as a ``data:`` URL; None if no source has an image with this key and hash."""
        for source in self.sources:
            try:
                loaded = ImageLoader(source, self.decoding).load(key)
            except (LosaError, OSError, ValueError, IndexError):  # not there, or a file that is no image
                continue
            if loaded.source_hash == source_hash:
                picture = loaded.image
                picture.thumbnail((_SIDE, _SIDE))
                file = io.BytesIO()
                picture.save(file, format="JPEG", quality=80)
                return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
        return None
