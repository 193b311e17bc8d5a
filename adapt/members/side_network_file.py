"""The files of a trained side network: its tensors, and a description with the identity of its features."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load, save

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks import SideKind, SideNetwork, make_side_network
from losa.adapt.side_networks.head import FINAL_NORM_BUFFERS
from losa.cache_format import LabelColumn, LosaError
from losa.cache_format.identity import FeatureIdentity, FinalNorm, TokenLayout
from losa.cache_format.manifest import as_json
from losa.cache_format.storage.atomic_writes import publish
from losa.cache_format.storage.sealed_json import seal, unseal

TENSORS_NAME = "side_network.safetensors"
DESCRIPTION_NAME = "side_network.json"
NETWORK_VERSION = 2
"""In version 2 thin matrices are stored as ``rank`` rows; in version 1 some were transposed."""


def save_side_network(
    folder: Path,
    network: SideNetwork,
    member: int,
    identity: FeatureIdentity,
    columns: Sequence[LabelColumn],
) -> None:
    """Write the tensors of one member, without the members axis, and the description.

    Args:
        folder: folder to write to.
        network: the network that holds the member.
        member: index of the member on the members axis.
        identity: identity of the features that the member was trained on.
        columns: label columns, in the order of their class scores in the network's output.
    """
    tensors = {name: parameter[member] for name, parameter in network.named_parameters()}
    tensors |= dict(network.named_buffers())
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    final_norm = network.features.final_norm
    description = {
        "format": "losa-side-network",
        "version": NETWORK_VERSION,
        "architecture": asdict(network.architecture),
        "sites": list(network.features.sites),
        "tokens": asdict(network.features.tokens),
        "width": network.features.width,
        "final_norm": None if final_norm is None else asdict(final_norm),
        "num_classes": network.num_classes,
        "outputs": [asdict(column) for column in columns],
        "features_sha256": identity.sha256,
        "backbone": as_json(identity.backbone),
        "preprocessing": as_json(identity.preprocessing),
    }
    tensors_bytes = save(stored)
    description["tensors_sha256"] = hashlib.sha256(tensors_bytes).hexdigest()
    publish(folder / TENSORS_NAME, tensors_bytes)
    publish(folder / DESCRIPTION_NAME, seal(description))


def load_side_network(folder: Path) -> SideNetwork:
    """Read the network of one member, on the CPU and in eval mode.

    Raises:
        LosaError: files are missing or damaged, do not belong together, or have another version.
    """
    path = folder / DESCRIPTION_NAME
    try:
        description = unseal(path.read_bytes(), path)
        data = (folder / TENSORS_NAME).read_bytes()
    except FileNotFoundError as error:
        raise LosaError(f"{folder} holds no side network: {error.filename} is missing") from None
    try:
        if description["version"] != NETWORK_VERSION:
            remedy = "install a newer one" if description["version"] > NETWORK_VERSION else "train it again"
            raise LosaError(
                f"{path}: version {description['version']!r}; "
                f"this losa reads version {NETWORK_VERSION}: {remedy}"
            )
        if hashlib.sha256(data).hexdigest() != description["tensors_sha256"]:
            raise LosaError(f"{folder / TENSORS_NAME} is damaged: its sha256 is not the one in {path}")
        tensors = load(data)
        network = _rebuild(description, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise LosaError(f"{path} is not a valid description: {error}") from None
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    expected = {name: tuple(value.shape[1:]) for name, value in network.named_parameters()}
    expected |= {name: tuple(value.shape) for name, value in network.named_buffers()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != expected:
        raise LosaError(f"{folder / TENSORS_NAME}: expected tensors {expected}, found {found}")
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
    return network.eval()


def _rebuild(description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> SideNetwork:
    def parse(kind: Any, value: Any) -> Any:
        return TypeAdapter(kind).validate_json(json.dumps(value))

    width = description["width"]
    features = FeatureSpec(
        sites=tuple(description["sites"]),
        tokens=parse(TokenLayout, description["tokens"]),
        width=width,
        final_norm=parse(FinalNorm | None, description["final_norm"]),
        constants={
            constant: np.zeros(width, np.float32)
            for constant, buffer in FINAL_NORM_BUFFERS.items()
            if f"head.{buffer}" in tensors
        },
    )
    parse(SideKind, description["architecture"]["side"])
    architecture: Architecture = parse(Architecture, description["architecture"])
    return make_side_network(architecture, features, description["num_classes"], [0])
