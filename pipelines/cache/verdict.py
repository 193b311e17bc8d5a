"""What `losa-cache verify` and `losa-cache repair` have found and done, in words."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from losa.cache_format import Repair, Verification
from losa.cache_format.common.units import readable


def verification_json(found: Verification) -> dict[str, Any]:
    """As JSON values."""
    return {"ok": found.ok, **asdict(found)}


def verification_lines(path: str, found: Verification) -> Iterator[str]:
    """For people: every bad file, shard and image on a line of its own, then the verdict."""
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
        yield f"segment {segment!r}: {count} shards are not extracted yet"
    if found.strays:
        yield f"{len(found.strays)} files that nothing accounts for, the first is {found.strays[0]}"
    read = f"{path}: {readable(found.bytes)} in {found.files:,} files, {found.images:,} images"
    if found.ok:
        yield f"{read}: every byte is what was written"
    else:
        bad = sum(len({image.row for image in shard.images}) for shard in found.bad_shards)
        yield (
            f"{read}: {len(found.bad_files)} files, {len(found.bad_shards)} shards and {bad} images are "
            f"damaged. Next: losa-cache repair {path}"
        )


def repair_lines(path: str, done: Repair) -> Iterator[str]:
    """For people: what was done, and what to do now."""
    for segment, shard in done.dropped_shards:
        yield f"dropped shard {shard} of segment {segment!r}"
    for name in done.removed:
        yield f"removed {name}"
    for name in done.not_mended:
        yield f"damaged, and left as it is: {name}"
    if done.left:
        yield (
            f"{len(done.left)} files that nothing accounts for were left, the first is {done.left[0]} "
            "(--prune removes segments and splits that the manifest does not have)"
        )
    if not (done.dropped_shards or done.removed or done.not_mended):
        yield f"{path}: nothing to mend"
    yield from done.advice
