"""Copying of a committed shard from one cache to another, file by file."""

from collections.abc import Callable
from dataclasses import replace
from zlib import crc32

from losa.cache_format.errors import CorruptCache
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_writer import on_full_disk
from losa.cache_format.storage.atomic_writes import publishing, remove
from losa.cache_format.storage.paths import CachePath, cannot_read, shell_path

COPY_BLOCK_BYTES = 8 * 2**20
"""Bytes that are copied at a time."""


def copy_shard(
    source: SegmentFiles, target: SegmentFiles, commit: Commit, still_ours: Callable[[], None]
) -> None:
    """Copy the files of a shard unchanged, and then its commit record.

    Args:
        source: files of the segment that has the shard.
        target: files of the same segment in the other cache, where it may have another name.
        commit: the record of the shard in the source.
        still_ours: called before anything is published; raises if another writer has taken over.

    Raises:
        CorruptCache: the source is damaged; nothing is committed.
        CacheError: the disk is full.
    """
    record = target.commit_path(commit.shard)

    def make_room() -> None:
        still_ours()
        remove(record)

    with on_full_disk(target, commit.shard):
        for name in target.store.shard_files(target.geometry, commit.shard):
            _copy_file(source, target.folder / name, name, commit, make_room)
        still_ours()
        replace(commit, segment=target.segment.name).write(record)


def _copy_file(
    source: SegmentFiles, to: CachePath, name: str, commit: Commit, make_room: Callable[[], None]
) -> None:
    expected = commit.files[name]
    try:
        data = (source.folder / name).open("rb")
    except OSError as error:
        raise cannot_read(source.folder / name, error) from error
    with data, publishing(to, make_room) as copy:
        crc = size = 0
        while block := data.read(COPY_BLOCK_BYTES):
            crc, size = crc32(block, crc), size + len(block)
            copy.write(block)
        if (size, f"{crc:08x}") != (expected.bytes, expected.crc32):
            raise CorruptCache(
                f"{source.folder / name}: its bytes differ from those that were written. "
                f"Run losa-cache verify {shell_path(source.metadata.path)} for details; losa-cache repair "
                "drops the shard"
            )
