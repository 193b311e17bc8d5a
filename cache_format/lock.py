"""One writer per folder."""

import fcntl
import os
import weakref
from pathlib import Path

from losa.cache_format.errors import CacheError, CacheInUse

LOCK_NAME = ".writer.lock"


class WriterLock:
    """An advisory lock on a folder. The kernel drops it when its process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            CacheInUse: another process holds it.
            CacheError: the file system has no locks.
        """
        self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise CacheInUse(
                f"another process is writing to {folder}: wait for it, or choose another folder"
            ) from None
        except OSError as error:
            os.close(self._descriptor)
            raise CacheError(
                f"{folder} cannot be locked ({error.strerror}): choose a file system that has locks"
            ) from None
        _held.add(self)

    def release(self) -> None:
        """Let the next writer in."""
        _held.discard(self)
        os.close(self._descriptor)


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    # A forked decode worker shares the lock and may outlive a killed writer by seconds.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
