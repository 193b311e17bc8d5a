"""Locks that allow one writer per folder."""

import contextlib
import fcntl
import json
import logging
import os
import platform
import resource
import threading
import time
import uuid
import weakref
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from upath import UPath

from losa.cache_format.errors import CacheError, CacheInUse
from losa.cache_format.storage.paths import CachePath

_log = logging.getLogger(__name__)

LOCK_NAME = ".writer.lock"
OTHER_FILES = 128
"""Files that a process may open besides its locks. Readers use up to 1/8 of the limit for each split."""
LEASE_SECONDS = 300.0
"""Age at which a remote lock that was not renewed is taken to belong to a dead writer."""


@runtime_checkable  # so that beartype can check it while the tests run
class WriterLock(Protocol):
    """The lock held by the only writer of a folder."""

    def check(self) -> None:
        """Check that the lock is still held.

        Raises:
            CacheInUse: another writer has taken over.
        """

    def release(self) -> None:
        """Release the lock."""


def writer_lock(folder: CachePath) -> WriterLock:
    """Take the lock of a folder.

    Raises:
        CacheInUse: another process holds it.
        CacheError: the file system has no locks.
    """
    return FileLock(folder) if isinstance(folder, Path) else Lease(folder)


def allow_locks(count: int) -> None:
    """Raise the limit of open files so that this process can hold ``count`` locks of local folders.

    Raises:
        CacheError: the hard limit of the system is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if resource.RLIM_INFINITY != hard < wanted:
        raise CacheError(
            f"{count} folders are to be locked, which takes {wanted} open files in all, and this process "
            f"may have {hard}: raise that limit (ulimit -n), or do fewer at once "
            "(hydra.sweeper.max_batch_size=...)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class FileLock:
    """An advisory lock on a local folder. The kernel releases it when the process ends in any way."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; raises the errors of `writer_lock`."""
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
        if not os.fstat(self._descriptor).st_nlink:
            os.close(self._descriptor)
            raise CacheInUse(f"{folder} was removed by another process just now: try again")
        _held.add(self)

    def check(self) -> None:
        """Do nothing: the kernel keeps the lock while the descriptor is open."""

    def release(self) -> None:
        """Release the lock."""
        _held.discard(self)
        os.close(self._descriptor)


class Lease:
    """An object in a bucket that names its writer and is renewed while the writer lives.

    Buckets have no locks. The object is created only if it does not exist, where the file system supports
    this. Every writer checks that the object still has its own token before it publishes anything. So one of
    two writers stops if both began at once, or if one took the other for dead. The clocks of all machines
    that write to one cache must agree within about a minute.
    """

    def __init__(self, folder: UPath) -> None:
        """Take the lock; raises the errors of `writer_lock`."""
        self._folder = folder
        self._path = folder / LOCK_NAME
        self._token = uuid.uuid4().hex
        holder = self._holder()
        age = time.time() - holder.get("renewed", 0.0)
        if holder and age < LEASE_SECONDS:
            raise CacheInUse(
                f"{folder} is written to by process {holder.get('process')} on {holder.get('host')}, "
                f"last seen {age:.0f} s ago: wait for it, or choose another folder. If it was killed, "
                f"its lock ends {LEASE_SECONDS - age:.0f} s from now"
            )
        if holder:
            self._path.unlink(missing_ok=True)
        self._stop = threading.Event()
        with contextlib.suppress(FileExistsError):  # another writer was faster, which the next line detects
            self._write(mode="create")
        self.check()
        self._thread = threading.Thread(target=self._keep, name="losa-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that the object still has this writer's token."""
        holder = self._holder()
        if not holder:
            raise CacheInUse(f"{self._folder}: the writer's lock has vanished; this one stops")
        if holder["token"] != self._token:
            raise CacheInUse(
                f"{self._folder} was taken over by process {holder.get('process')} on {holder.get('host')}; "
                "this one stops"
            )

    def release(self) -> None:
        """Release the lock."""
        self._stop.set()
        self._thread.join()
        if self._holder().get("token") == self._token:
            self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._stop.wait(LEASE_SECONDS / 10):
            try:
                if self._holder().get("token") != self._token:
                    return
                self._renew()
            # File systems raise errors of their own types, and the next attempt may reach the bucket again.
            except Exception as error:
                _log.warning("%s: the writer's lock could not be renewed: %s", self._folder, error)

    def _renew(self) -> None:
        self._write(mode="overwrite")

    def _write(self, mode: str) -> None:
        content = {
            "token": self._token,
            "process": os.getpid(),
            "host": platform.node(),
            "renewed": time.time(),
        }
        self._path.fs.pipe_file(self._path.path, json.dumps(content).encode(), mode=mode)

    def _holder(self) -> dict[str, Any]:
        self._path.fs.invalidate_cache()
        try:
            content = json.loads(self._path.read_bytes())
            return {**content, "renewed": float(content["renewed"])}
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError, TypeError, KeyError):
            return {"renewed": 0.0}  # not a lease, so no writer renews it


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    # A forked decode worker shares the lock and may outlive a killed writer by seconds.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
