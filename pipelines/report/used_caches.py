"""The caches that members were trained from: what they are, and whether they are still there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losa.adapt import MemberSummary
from losa.cache_format import Cache, LosaError
from losa.cache_format.common.units import counted, readable
from losa.cache_format.storage.paths import cache_folder
from losa.pipelines.cache.info import describe
from losa.pipelines.report.inputs.contract import Member
from losa.pipelines.report.inputs.summaries import found_folder, read_summary


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedCache:
    """A cache as the summaries of members tell of it, and as it is now."""

    name: str
    """The name of its folder."""
    facts: Mapping[str, str]
    noise: Mapping[str, float | None]
    """Site -> signal-to-noise ratio in dB; None where the codec rounds nothing, or nothing is extracted."""
    opened: Cache | None
    """None if it is gone."""


def used_caches(members: Sequence[Member]) -> list[UsedCache]:
    """The different caches of some members, in the order in which they appear."""
    found: dict[tuple[str, str], UsedCache] = {}
    for member in members:
        summary = None if member.folder is None else read_summary(member.folder)
        if summary is not None and member.folder is not None:
            key = str(summary.cache.get("path")), str(summary.cache.get("features_sha256"))
            if key not in found:
                found[key] = _used(summary, member.folder)
    return list(found.values())


def open_cache(summary: MemberSummary, folder: Path) -> Cache:
    """The cache that a member was trained from.

    Args:
        summary: the summary of the member.
        folder: its folder; the path of the cache may be relative to one around it.

    Raises:
        LosaError: it is gone, or other features are there now.
    """
    written = str(summary.cache.get("path"))
    place = written if "://" in written else found_folder(written, folder)
    if place is None:
        raise LosaError(f"there is no folder {written}")
    cache = Cache(cache_folder(str(place)))
    if cache.metadata.features_sha256 != summary.cache.get("features_sha256"):
        raise LosaError(f"{written} holds other features now")
    return cache


def _used(summary: MemberSummary, folder: Path) -> UsedCache:
    recorded = summary.cache
    name = Path(str(recorded.get("path"))).name
    facts = {
        "path": str(recorded.get("path")),
        "data set": str(recorded.get("dataset")),
        "backbone": f"{recorded.get('backbone')}, weights {str(recorded.get('weights_sha256'))[:12]}",
        "codec": str(recorded.get("codec")),
        "identity": str(recorded.get("features_sha256")),
    }
    try:
        cache = open_cache(summary, folder)
        info = describe(cache)
    except (LosaError, OSError) as error:
        return UsedCache(name=name, facts={**facts, "now": f"cannot be read: {error}"}, noise={}, opened=None)
    return UsedCache(name=name, facts={**facts, **_facts_of(info)}, noise=_noise(info["sites"]), opened=cache)


def _facts_of(info: Mapping[str, Any]) -> dict[str, str]:
    height, width = info["input_size"][1:]
    preprocessing = info["preprocessing"]
    splits = ", ".join(
        f"{split['name']} ({counted(split['extracted'], 'image', 'images')})" for split in info["splits"]
    )
    return {
        "images": f"{info['images']:,} stored, {readable(info['bytes'])}",
        "input": f"{height} x {width} pixels, {preprocessing['crop_mode']}, {preprocessing['interpolation']}",
        "activations": f"{len(info['sites'])} sites x {info['tokens']} tokens x {info['width']} channels",
        "splits": splits,
    }


def _noise(sites: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    return {site["name"]: site["snr_db"] for site in sites}
