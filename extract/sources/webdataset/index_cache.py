"""Keeps the indices of shards, so that a shard is read through only once."""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from losa.cache_format.storage.paths import CachePath
from losa.extract.media import file_extensions
from losa.extract.sources.webdataset.sample_fields import SampleFields
from losa.extract.sources.webdataset.shard_index import ShardIndex

_VERSION = 1
"""To be raised when indices change, so that older ones are not used."""
_FIELDS_OF_VERSION = ("mtime", "ETag", "LastModified", "last_modified", "Last-Modified", "updated", "created")
"""What file systems tell of the version of a file, the most reliable first."""
_INDEX = TypeAdapter(ShardIndex)


class ShardVersion(NamedTuple):
    """A shard as it is now."""

    place: str
    """Its absolute path or URL."""
    size: int
    """Its size in bytes."""
    stamp: str | None
    """A time or a tag that changes when the shard does; None if the server tells none."""


def shard_version(path: CachePath) -> ShardVersion:
    """The present version of a shard.

    Raises:
        OSError: there is no such file, or it cannot be reached; remote file systems may raise other errors.
    """
    if isinstance(path, Path):
        found = path.stat()
        return ShardVersion(str(path.resolve()), found.st_size, str(found.st_mtime_ns))
    entry = path.fs.info(path.path)
    if entry.get("size") is None:
        raise OSError("its server does not tell its size")
    stamp = next((f"{name} {entry[name]}" for name in _FIELDS_OF_VERSION if entry.get(name)), None)
    return ShardVersion(str(path), int(entry["size"]), stamp)


class IndexCache:
    """A folder of indices, in files named by hashes of shard and options. It can be deleted at any time."""

    def __init__(self, folder: str | None, fields: SampleFields) -> None:
        """Choose the folder.

        Args:
            folder: None: ``losa/shards`` in the user's folder for caches (XDG_CACHE_HOME, ~/.cache).
            fields: the fields that are used.
        """
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = Path(folder).expanduser() if folder is not None else base / "losa/shards"
        self._options = [_VERSION, fields.image, list(fields.labels), sorted(file_extensions(fields.media))]

    def get(self, shard: ShardVersion) -> ShardIndex | None:
        """The index of a shard, if it is known."""
        try:
            return _INDEX.validate_json(self._file(shard).read_bytes())
        except (OSError, ValidationError):  # none, or one that was only half written
            return None

    def put(self, shard: ShardVersion, index: ShardIndex) -> None:
        """Keep an index, unless a later version of its shard could not be told from this one.

        Raises:
            OSError: it cannot be written.
        """
        if shard.stamp is None:
            return
        file = self._file(shard)
        file.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: several processes may index the same shard.
        temporary = file.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_bytes(_INDEX.dump_json(index))
            temporary.replace(file)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _file(self, shard: ShardVersion) -> Path:
        about = json.dumps([*shard, *self._options]).encode()
        name = hashlib.blake2b(about, digest_size=16).hexdigest()
        return self.folder / f"{name}.json"
