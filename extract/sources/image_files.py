"""Image files, wherever they are."""

from dataclasses import dataclass
from pathlib import Path

from losa.extract.sources.base import read_file


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """`StoredImages` whose keys are paths of files."""

    def read(self, key: str) -> bytes:
        """The bytes of a file.

        Raises:
            InvalidImage: there is no such file.
            LosaError: the machine could not read it at the moment.
        """
        return read_file(Path(key))
