"""Results of `losa-cache verify` and `losa-cache repair` as text and JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from losa.cache_format import Repair, Verification
from losa.cache_format.common.units import counted, readable
from losa.cache_format.storage.paths import shell_path


def verification_json(found: Verification) -> dict[str, Any]:
    """The result of a verification as JSON values."""
    return {"ok": found.ok, **asdict(found)}


def verification_lines(path: str, found: Verification) -> Iterator[str]:
    """The result of a verification as text: a line for every bad file, shard and image, then a summary."""
    for file in found.bad_files:
        yield f"bad file: {file.problem}"
    for shard in found.bad_shards:
        yield f"bad shard {shard.shard} of segment {shard.segment!r}:"
        yield from (f"  {problem}" for problem in shard.problems)
        for image in shard.images:
            name = f"row {image.row}" if image.key is None else f"{image.key!r} (row {image.row})"
            site = "all sites" if image.site is None else f"site {image.site!r}"
            yield f"  bad image {name}, {site}: {image.problem}"
    for segment, count in found.missing_shards.items():
        yield f"segment {segment!r}: {counted(count, 'shard is', 'shards are')} not extracted yet"
    if found.strays:
        unknown = counted(len(found.strays), "unknown file", "unknown files")
        yield f"{unknown}, the first is {found.strays[0]}"
    files, images = counted(found.files, "file", "files"), counted(found.images, "image", "images")
    read = f"{path}: {readable(found.bytes)} in {files}, {images}"
    if found.ok:
        yield f"{read}: undamaged, every byte fits its checksum"
    else:
        bad = sum(len({image.row for image in shard.images}) for shard in found.bad_shards)
        damaged = (
            f"{counted(len(found.bad_files), 'file', 'files')}, "
            f"{counted(len(found.bad_shards), 'shard', 'shards')} and {counted(bad, 'image', 'images')}"
        )
        yield f"{read}: {damaged} are damaged. Next: losa-cache repair {shell_path(path)}"


def repair_lines(path: str, done: Repair) -> Iterator[str]:
    """The result of a repair as text: what was done, and what to do next."""
    for segment, shard in done.dropped_shards:
        yield f"dropped shard {shard} of segment {segment!r}"
    for name in done.removed:
        yield f"removed {name}"
    for name in done.not_repaired:
        yield f"damaged, and left unchanged: {name}"
    if done.left:
        yield (
            f"{counted(len(done.left), 'unknown file was', 'unknown files were')} left, "
            f"the first is {done.left[0]} (--prune removes segments and splits that are not in the manifest)"
        )
    if not (done.dropped_shards or done.removed or done.not_repaired):
        yield f"{path}: nothing to repair"
    yield from done.advice
