"""Image files, wherever they are."""

from dataclasses import dataclass
from pathlib import Path

from losa.extract.sources.base import InvalidImage


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """`StoredImages` whose keys are paths of files.

    Nothing is kept of these images that another attempt could complete, so a file that cannot be read at the
    moment, such as one without permission, is as invalid as a damaged one.
    """

    def read(self, key: str) -> bytes:
        """The bytes of a file.

        Raises:
            InvalidImage: the file cannot be read.
        """
        try:
            return Path(key).read_bytes()
        except OSError as error:
            raise InvalidImage(error.strerror or "cannot be read") from None
