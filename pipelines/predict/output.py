"""Where predictions go: standard output, or a file that appears whole or not at all."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from losa.cache_format.storage.atomic_writes import publishing
from losa.cache_format.storage.paths import local_path
from losa.pipelines.replaced_file import is_text, refuse_missing_folder, refuse_other_file

Write = Callable[[str], object]


def output_file(out: str | None) -> Path | None:
    """The file that ``out=...`` names, checked before anything is computed.

    Raises:
        LosaError: it is a folder, its folder does not exist, or it is an image or another file, no text.
    """
    if out is None:
        return None
    path = local_path(out)
    refuse_missing_folder("out=", path)
    refuse_other_file("out=", path, is_text, "a text, such as earlier predictions")
    return path


@contextmanager
def writing(path: Path | None) -> Iterator[Write]:
    """A function that writes text to a file, or to standard output if there is none.

    Names of files need not be valid Unicode: their bytes are written as they are.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")
        yield sys.stdout.write
        sys.stdout.flush()
        return
    with publishing(path) as file:
        yield lambda text: file.write(text.encode("utf-8", "surrogateescape"))
