"""The second stage: one side network trained from a cache, scored, and written down."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from losa.adapt.activations import CachedActivations
from losa.adapt.config import AdaptConfig
from losa.adapt.features import FeatureSpec
from losa.adapt.optimizers import make_optimizer
from losa.adapt.residency import Residency, choose_residency
from losa.adapt.resident_activations import load_codes
from losa.adapt.side_network_file import DESCRIPTION_NAME, TENSORS_NAME, save_side_network
from losa.adapt.side_networks import SideNetwork, make_side_network
from losa.adapt.training import EpochMetrics, LabelledActivations, evaluate, train
from losa.cache_format import Cache, LosaError
from losa.cache_format.constants import NORM_BIAS, NORM_WEIGHT
from losa.cache_format.device import resolve_device
from losa.cache_format.identity import hash_array
from losa.cache_format.index import image_ids, read_index
from losa.cache_format.labels import MISSING_LABEL
from losa.cache_format.lock import FileLock
from losa.cache_format.progress import progress_bar
from losa.cache_format.publish import make_folder, publish
from losa.cache_format.sealed_json import canonical
from losa.cache_format.sites import select_sites

_log = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
SUMMARY_NAME = "summary.json"


def adapt(config: AdaptConfig, folder: Path) -> dict[str, Any]:
    """Train one member and write config, metrics, summary and side network into a folder.

    A finished member of the same configuration and cache is not trained again. While it trains, it holds
    the folder's lock.

    Args:
        config: of the member.
        folder: of the member; created if missing.

    Returns:
        The summary, as it stands in ``summary.json``.

    Raises:
        LosaError: anything the person who started it can mend; the message says how.
    """
    device = resolve_device(config.device)
    cache = Cache(config.cache)
    features = feature_spec(cache, config)
    column = cache.label_column(config.label)
    if column.num_classes < 2:
        raise LosaError(
            f"{cache.path}: label column {column.name!r} has {column.num_classes} classes; "
            "training a classifier needs at least two"
        )
    data = {name: labelled(cache, name, config, device) for name in (config.train_split, *config.eval_splits)}
    if len(np.unique(data[config.train_split].labels)) < 2:
        raise LosaError(
            f"{cache.path}: all {len(data[config.train_split])} images of split {config.train_split!r} have "
            "the same label; there is nothing to learn"
        )
    _warn_of_shared_images(cache, config, data)
    origin = _origin(cache, config, data)
    finished = None if config.overwrite else _finished(folder, config, origin)
    if finished is not None:
        return finished
    network = make_side_network(config.architecture, features, column.num_classes, [config.seed]).to(device)
    images = data[config.train_split]
    residency = choose_residency(
        config.residency, _stream(images).split, images=len(images), epochs=config.epochs, device=device
    )
    make_folder(folder)
    lock = FileLock(folder)
    try:
        # Once more: another process may have had the lock until now.
        finished = None if config.overwrite else _finished(folder, config, origin)
        if finished is not None:
            return finished
        return _train_member(network, data, config, cache, folder, device, residency, origin)
    finally:
        lock.release()


def _train_member(
    network: SideNetwork,
    data: Mapping[str, LabelledActivations],
    config: AdaptConfig,
    cache: Cache,
    folder: Path,
    device: str,
    residency: Residency,
    origin: dict[str, Any],
) -> dict[str, Any]:
    for name in (SUMMARY_NAME, DESCRIPTION_NAME, TENSORS_NAME):
        (folder / name).unlink(missing_ok=True)
    publish(folder / CONFIG_NAME, _json(asdict(config)))
    # Before the clock starts: torch imports for a second and more when it makes its first optimiser.
    optimizer = make_optimizer(config, network)
    start = time.perf_counter()
    data = {**data, config.train_split: kept(data[config.train_split], residency)}
    train_loss = float("nan")
    with (
        (folder / METRICS_NAME).open("w", encoding="utf-8") as log,
        progress_bar(config.epochs, config.member_name, "epoch") as bar,
    ):

        def on_epoch(metrics: EpochMetrics) -> None:
            nonlocal train_loss
            train_loss = float(metrics.train_loss[0])
            accuracy = float(metrics.train_accuracy[0])
            record = {
                "epoch": metrics.epoch,
                "lr": metrics.lr,
                "train_loss": train_loss,
                "train_accuracy": accuracy,
                "seconds": round(time.perf_counter() - start, 3),
            }
            print(json.dumps(record), file=log, flush=True)
            bar.set_postfix_str(f"loss {train_loss:.4f}, train accuracy {accuracy:.3f}", refresh=False)
            bar.update()

        train(network, data[config.train_split], config, on_epoch, optimizer)
    train_seconds = time.perf_counter() - start
    accuracy = {
        name: float(evaluate(network, data[name], config.batch_size)[0]) for name in config.eval_splits
    }
    classes = cache.label_column(config.label).classes
    save_side_network(folder, network, 0, cache.manifest.features, None if classes is None else list(classes))
    summary = {
        "member": config.member_id,
        "name": config.member_name,
        "side": config.side,
        "rank": None if config.side == "linear" else config.rank,
        "lr": config.lr,
        "seed": config.seed,
        "accuracy": accuracy,
        "train_loss": train_loss,
        "parameters": network.parameter_count(),
        "head_parameters": network.head_parameter_count(),
        "seconds": round(time.perf_counter() - start, 3),
        "train_seconds": round(train_seconds, 3),
        "images": {name: len(split) for name, split in data.items()},
        "sites": list(network.features.sites),
        "device": device,
        "residency": residency,
        "cache": origin,
        "folder": str(folder),
    }
    publish(folder / SUMMARY_NAME, _json(summary))
    return summary


def feature_spec(cache: Cache, config: AdaptConfig) -> FeatureSpec:
    """What the side network has to know of the sites it reads."""
    group = cache.manifest.features.group
    return FeatureSpec(
        sites=sites_read(cache, config),
        tokens=group.tokens,
        width=group.width,
        final_norm=cache.manifest.features.final_norm,
        constants={
            name: cache.constants[name] for name in (NORM_WEIGHT, NORM_BIAS) if name in cache.constants
        },
    )


def sites_read(cache: Cache, config: AdaptConfig) -> tuple[str, ...]:
    """The selected sites; of these a linear probe reads the last one only."""
    selected = select_sites(config.sites, cache.sites)
    return selected[-1:] if config.side == "linear" else selected


def labelled(cache: Cache, name: str, config: AdaptConfig, device: str) -> LabelledActivations:
    """The images of a split that could be read and have a label.

    Raises:
        LosaError: there is none.
    """
    split = cache.split(name, sites_read(cache, config))
    labels = split.labels(config.label)
    positions = np.flatnonzero(split.valid & (labels != MISSING_LABEL))
    if not len(positions):
        raise LosaError(
            f"{cache.path}: none of the {len(split)} images of split {name!r} is readable and has a label in "
            f"column {config.label!r}"
        )
    return LabelledActivations(
        source=CachedActivations(split, device),
        positions=positions,
        labels=labels[positions],
        name=f"split {name!r}",
    )


def kept(data: LabelledActivations, residency: Residency) -> LabelledActivations:
    """The same images, their codes loaded to where they are to stay."""
    if residency == "stream":
        return data
    return replace(data, source=load_codes(_stream(data), data.positions, residency))


def _stream(data: LabelledActivations) -> CachedActivations:
    assert isinstance(data.source, CachedActivations), "what labelled() returns"
    return data.source


def _warn_of_shared_images(
    cache: Cache, config: AdaptConfig, data: Mapping[str, LabelledActivations]
) -> None:
    """Say which scores are not those of unseen images."""
    stored = {
        name: image_ids(read_index(cache.path, cache.manifest, cache.manifest.split(name)))[split.positions]
        for name, split in data.items()
    }
    for name in config.eval_splits:
        shared = int(np.isin(stored[name], stored[config.train_split]).sum())
        if shared:
            _log.warning("%d of %d images of %s are also trained on", shared, len(stored[name]), name)


def _origin(cache: Cache, config: AdaptConfig, data: Mapping[str, LabelledActivations]) -> dict[str, Any]:
    """The cache a member was trained from, for people and to know the member again."""
    manifest = cache.manifest
    column = cache.label_column(config.label)
    labels = {
        "num_classes": column.num_classes,
        "classes": column.classes,
        "splits": {
            name: [hash_array(split.positions), hash_array(split.labels)] for name, split in data.items()
        },
    }
    return {
        "path": str(cache.path),
        "dataset": manifest.dataset,
        "backbone": manifest.features.backbone.name,
        "weights_sha256": manifest.features.backbone.weights_sha256,
        "codec": manifest.features.codec,
        "features_sha256": manifest.features.sha256,
        "labels_sha256": hashlib.sha256(canonical(labels)).hexdigest(),
        "splits": {name: manifest.split(name).keys_sha256 for name in sorted(data)},
    }


def _finished(folder: Path, config: AdaptConfig, origin: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a finished member, if it is this one and was trained from the same data.

    Raises:
        LosaError: another finished member is there.
    """
    try:
        summary = json.loads((folder / SUMMARY_NAME).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(summary, dict):
        return None
    if summary.get("member") != config.member_id:
        raise LosaError(
            f"{folder} holds another finished member, {summary.get('name')}; this one is "
            f"{config.member_name}: choose another folder (out=... or hydra.run.dir=...), or overwrite=true"
        )
    if summary.get("cache") != origin:
        _log.warning("%s was trained from another state of the cache; it is trained again", folder)
        return None
    _log.info("%s is finished already (overwrite=true trains it again)", folder)
    return summary


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
