"""Description of a cache, as JSON values and as text."""

from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table

from losa.cache_format import Cache, SiteStatistics
from losa.cache_format.common.units import readable
from losa.cache_format.manifest import as_json
from losa.cache_format.metadata.index import read_index
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.statistics import NO_VALUES
from losa.pipelines.cache.shards import committed


def describe(cache: Cache) -> dict[str, Any]:
    """Describe a cache as JSON values. Sizes are in bytes, signal-to-noise ratios in dB.

    Raises:
        CorruptCache: a record or an index is damaged.
    """
    manifest = cache.manifest
    features = manifest.features
    layout = features.group.tokens
    records = {segment.number: committed(cache, segment) for segment in manifest.segments}
    commits = [commit for shards in records.values() for commit in shards.values()]
    return {
        "path": str(cache.path),
        "version": manifest.version,
        "dataset": manifest.dataset,
        "store": manifest.store,
        "compressor": manifest.compressor,
        "codec": features.codec,
        "backbone": features.backbone.name,
        "weights_sha256": features.backbone.weights_sha256,
        "features_sha256": features.sha256,
        "compute_dtype": features.compute_dtype,
        "input_size": list(features.preprocessing.input_size),
        "preprocessing": as_json(features.preprocessing),
        "tokens": layout.count,
        "frames": layout.frames,
        "grid": list(layout.grid),
        "pooled_from": None if layout.pooled_from is None else list(layout.pooled_from),
        "width": features.group.width,
        "image_bytes": _image_bytes(commits),
        "bytes": sum(record.bytes for commit in commits for record in commit.files.values()),
        "images": sum(segment.images for segment in manifest.segments),
        "labels": [{"name": column.name, "num_classes": column.num_classes} for column in manifest.labels],
        "splits": [_split(cache, name, records) for name in (record.name for record in manifest.splits)],
        "segments": [
            {
                "name": segment.name,
                "images": segment.images,
                "shards": segment.shards,
                "committed": len(records[segment.number]),
            }
            for segment in manifest.segments
        ],
        "sites": [
            _site(site, [commit.statistics[index] for commit in commits])
            for index, site in enumerate(cache.sites)
        ],
        "provenance": dict(manifest.provenance),
    }


def _image_bytes(commits: list[Commit]) -> float | None:
    """Mean bytes of an image on disk, including checksums and padding; None if no shard is committed."""
    rows = sum(commit.rows for commit in commits)
    stored = sum(record.bytes for commit in commits for record in commit.files.values())
    return stored / rows if rows else None


def _split(cache: Cache, name: str, records: dict[int, dict[int, Commit]]) -> dict[str, Any]:
    manifest = cache.manifest
    index = read_index(cache.metadata, manifest.split(name))
    per_shard = {segment.number: segment.rows_per_shard for segment in manifest.segments}
    extracted = invalid = 0
    size = 0.0
    for number in np.unique(index[:, 0]).tolist():
        shards, rows = np.divmod(index[index[:, 0] == number, 1], per_shard[number])
        order = np.argsort(shards, kind="stable")
        found, starts = np.unique(shards[order], return_index=True)
        for shard, mine in zip(found.tolist(), np.split(rows[order], starts[1:]), strict=True):
            commit = records[number].get(shard)
            if commit is None:
                continue
            extracted += len(mine)
            if commit.invalid:
                images = commit.images
                invalid += sum(not images.valid(row) for row in mine.tolist())
            size += len(mine) / commit.rows * sum(record.bytes for record in commit.files.values())
    return {
        "name": name,
        "rule": manifest.split(name).rule,
        "images": len(index),
        "extracted": extracted,
        "invalid": invalid,
        "bytes": round(size),
    }


def _site(name: str, parts: list[SiteStatistics]) -> dict[str, Any]:
    total = sum(parts, NO_VALUES)
    if not total.count:
        return {"name": name, "minimum": None, "maximum": None, "rms": None, "snr_db": None}
    snr = total.snr_db
    return {
        "name": name,
        "minimum": total.minimum,
        "maximum": total.maximum,
        "rms": total.rms,
        "snr_db": snr if np.isfinite(snr) else None,
    }


def _prepared(preprocessing: dict[str, Any]) -> str:
    """The preprocessing in one line."""
    decoding = preprocessing.get("decoding")
    values = {name: " ".join(f"{value:g}" for value in preprocessing[name]) for name in ("mean", "std")}
    return (
        f"{preprocessing['crop_mode']}, crop_pct {preprocessing['crop_pct']:g}, "
        f"{preprocessing['interpolation']}, mean {values['mean']}, std {values['std']}, "
        f"exif {'ignore (a cache of an early version)' if decoding is None else decoding['exif']}"
        f"{_sampled(preprocessing)}"
    )


def _sampled(preprocessing: dict[str, Any]) -> str:
    """How the frames of clips are chosen, after the rest of the preprocessing; empty for images."""
    sampling = preprocessing.get("sampling")
    if sampling is None:
        return ""
    stride = "spread evenly" if sampling["stride"] is None else f"stride {sampling['stride']}"
    return f", {sampling['frames']} frames, {stride}"


def _activations(info: dict[str, Any]) -> str:
    """The shape of the activations of an image in one line."""
    frames = "" if info["frames"] == 1 else f"{info['frames']} frames x "
    tokens = info["tokens"] // info["frames"]
    shape = f"{len(info['sites'])} sites x {frames}{tokens} tokens x {info['width']} channels"
    if info["pooled_from"] is None:
        return shape
    return shape + "; grid of {} x {} pooled to {} x {}".format(*info["pooled_from"], *info["grid"])


def render(info: dict[str, Any]) -> Group:
    """Format a description for the terminal."""
    facts = Table.grid(padding=(0, 2))
    height, width = info["input_size"][1:]
    coded = info["codec"] if info["compressor"] is None else f"{info['codec']}, {info['compressor']}"
    mean = "" if info["image_bytes"] is None else f", {readable(round(info['image_bytes']))} an image"
    for name, value in (
        ("cache", f"{info['path']} (format version {info['version']}, store {info['store']})"),
        ("data set", f"{info['dataset']}, {info['images']:,} images stored"),
        ("backbone", f"{info['backbone']}, weights {info['weights_sha256'][:12]}, {height} x {width} pixels"),
        ("preprocessing", _prepared(info["preprocessing"])),
        ("activations", _activations(info)),
        ("codec", f"{coded}; {readable(info['bytes'])}{mean}"),
        ("identity", info["features_sha256"]),
        (
            "labels",
            ", ".join(f"{one['name']} ({one['num_classes']} classes)" for one in info["labels"]) or "none",
        ),
        (
            "made with",
            ", ".join(f"{name} {value}" for name, value in info["provenance"].items()) or "unknown",
        ),
    ):
        facts.add_row(name, str(value))
    splits = Table(title="splits (they may share images)", title_justify="left")
    for heading in ("split", "images", "extracted", "invalid", "bytes"):
        splits.add_column(heading, justify="left" if heading == "split" else "right")
    for split in info["splits"]:
        splits.add_row(
            split["name"] if split["rule"] is None else f"{split['name']} ({split['rule']})",
            f"{split['images']:,}",
            f"{split['extracted']:,}",
            f"{split['invalid']:,}",
            readable(split["bytes"]),
        )
    sites = Table(title="sites", title_justify="left")
    for heading in ("site", "minimum", "maximum", "rms", "SNR of the codec"):
        sites.add_column(heading, justify="left" if heading == "site" else "right")
    for site in info["sites"]:
        if site["rms"] is None:
            sites.add_row(site["name"], *["-"] * 4)
            continue
        snr = "lossless" if site["snr_db"] is None else f"{site['snr_db']:.1f} dB"
        numbers = (f"{site[name]:.4g}" for name in ("minimum", "maximum", "rms"))
        sites.add_row(site["name"], *numbers, snr)
    return Group(facts, "", splits, "", sites)
