"""Whether a result can be written where it is to be, tried before the work that it is the result of."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX


def refuse_unwritable(option: str, path: Path) -> None:
    """Refuse a file that cannot be written: a file beside it is created and removed, its folders likewise.

    Args:
        option: the option that names the file, as it is typed: ``out=``.
        path: the file; neither it nor its folder need exist.

    Raises:
        LosaError: it cannot be written; the message has the reason of the system.
    """
    with _written(option, path), _folders(path.parent):
        probe = path.with_name(path.name + TEMPORARY_SUFFIX)
        with contextlib.suppress(FileExistsError):  # of another command that looks at this moment
            probe.open("xb").close()
            probe.unlink()


def refuse_unwritable_folder(option: str, path: Path) -> None:
    """Refuse a folder in which no file can be written, as `refuse_unwritable` does."""
    with _written(option, path), _folders(path):
        (path / TEMPORARY_SUFFIX).touch()
        (path / TEMPORARY_SUFFIX).unlink(missing_ok=True)


@contextlib.contextmanager
def _written(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LosaError(
            f"{option}{path}: cannot be written ({error.strerror}): choose another place"
        ) from None


@contextlib.contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """A context in which a folder exists; what was missing of it is removed again."""
    made: list[Path] = []
    try:
        for one in [each for each in (folder, *folder.parents) if not each.exists()][::-1]:
            one.mkdir(exist_ok=True)
            made.append(one)
        yield
    finally:
        for one in reversed(made):
            with contextlib.suppress(OSError):  # another command has written there meanwhile
                one.rmdir()
