"""Indexes the shards of a data set: from what is kept of an earlier time, or by reading them through."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

from losa.cache_format.common.progress import progress_bar
from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import CachePath
from losa.extract.sources.webdataset.index_cache import IndexCache, ShardVersion, shard_version
from losa.extract.sources.webdataset.sample_fields import SampleFields
from losa.extract.sources.webdataset.shard_index import ShardIndex, index_shard

_SHARDS_AT_ONCE = 8


def index_shards(
    root: CachePath, names: Sequence[str], fields: SampleFields, folder: str | None
) -> tuple[list[ShardIndex], list[str]]:
    """The indices of shards, and notes if they could not be kept.

    Args:
        root: folder or URL to which the names are relative.
        names: the shards.
        fields: the fields that are used.
        folder: where indices are kept, see `IndexCache`.

    Raises:
        LosaError: a shard is missing or damaged, cannot be reached, or an image or a label in it is unclear.
    """
    known = IndexCache(folder, fields)
    unkept: dict[str, None] = {}

    def make(version: ShardVersion, name: str) -> ShardIndex:
        index = _read_through(root / name, fields)
        try:
            known.put(version, index)
        except OSError as error:
            unkept.setdefault(
                f"indices of shards cannot be kept in {known.folder} ({error.strerror}), so that shards "
                "are read through each time: dataset.index_folder=... chooses another folder"
            )
        return index

    threads = ThreadPoolExecutor(_SHARDS_AT_ONCE)
    try:
        versions = list(threads.map(lambda name: _version(root / name), names))
        found = list(threads.map(known.get, versions))
        missing = [place for place, index in enumerate(found) if index is None]
        if missing:
            made = threads.map(
                make, [versions[place] for place in missing], [names[place] for place in missing]
            )
            with progress_bar(len(missing), "indexing", "tar") as bar:
                for place, index in zip(missing, made, strict=True):
                    found[place] = index
                    bar.update()
    finally:
        # After an error in one shard, the others are not read through first.
        threads.shutdown(cancel_futures=True)
    return cast("list[ShardIndex]", found), list(unkept)


def _version(path: CachePath) -> ShardVersion:
    try:
        return shard_version(path)
    except FileNotFoundError:
        raise LosaError(f"dataset.shards: there is no file {path}") from None
    except Exception as error:  # file systems raise errors of their own types
        raise LosaError(f"{path} cannot be reached: {type(error).__name__}: {error}") from error


def _read_through(path: CachePath, fields: SampleFields) -> ShardIndex:
    try:
        if isinstance(path, Path):
            with path.open("rb") as file:
                return index_shard(file, str(path), fields)
        with path.fs.open(path.path, "rb") as file:
            _refuse_streams(file, path)
            return index_shard(file, str(path), fields)
    except LosaError:
        raise
    except Exception as error:  # file systems raise errors of their own types
        raise LosaError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _refuse_streams(file: BinaryIO, path: CachePath) -> None:
    """Refuse a server that sends whole files only, by asking for the last byte of one."""
    try:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            file.read(1)
        file.seek(0)
    except ValueError as error:
        raise LosaError(
            f"{path}: its server does not answer requests for parts of a file ({error}): download the shards"
        ) from None
