"""The files of a trained side network: its tensors, and a description with the identity of its features."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from losa.adapt.side_networks import SideNetwork
from losa.adapt.side_networks.head import FINAL_NORM_BUFFERS
from losa.adapt.trained.description import SideNetworkDescription
from losa.adapt.trained.side_network import TrainedSideNetwork
from losa.cache_format import CorruptCache, LabelColumn, LosaError
from losa.cache_format.identity import FeatureIdentity
from losa.cache_format.manifest import as_json
from losa.cache_format.storage.atomic_writes import publish_together
from losa.cache_format.storage.sealed_json import seal, unseal

TENSORS_NAME = "side_network.safetensors"
DESCRIPTION_NAME = "side_network.json"
_ANEW = "Copy the folder anew, or train the side network again (losa-adapt ... overwrite=true)"


def save_side_network(
    folder: Path,
    network: SideNetwork,
    member: int,
    identity: FeatureIdentity,
    columns: Sequence[LabelColumn],
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write the tensors of one member, without the members axis, and the description.

    The files, ``side_network.safetensors`` and ``side_network.json``, take the place of earlier ones; neither
    is ever partial.

    Args:
        folder: an existing folder on this machine.
        network: the network that holds the member, on any device, with float32 parameters.
        member: position of the member on the members axis, from 0.
        identity: identity of the features that the member was trained on.
        columns: label columns, in the order of their class scores in the network's output.
        origin: where the backbone's weights come from, as `losa.extract.FrozenBackbone.origin`.

    Raises:
        IndexError: there is no such member.
        ValueError: the label columns do not have the network's number of classes together.
        OSError: the folder does not exist, or cannot be written to.
    """
    tensors = {name: parameter[member] for name, parameter in network.named_parameters()}
    tensors |= dict(network.named_buffers())
    tensors_bytes = save({name: each.detach().cpu().contiguous().clone() for name, each in tensors.items()})
    description = SideNetworkDescription(
        architecture=network.architecture,
        sites=network.features.sites,
        tokens=network.features.tokens,
        width=network.features.width,
        final_norm=network.features.final_norm,
        num_classes=network.num_classes,
        outputs=tuple(columns),
        features_sha256=identity.sha256,
        backbone=identity.backbone,
        preprocessing=identity.preprocessing,
        tensors_sha256=hashlib.sha256(tensors_bytes).hexdigest(),
        origin=dict(origin or {}),
    )
    publish_together(folder, {TENSORS_NAME: tensors_bytes, DESCRIPTION_NAME: seal(as_json(description))})


def load_side_network(folder: str | os.PathLike[str]) -> TrainedSideNetwork:
    """Read the network of one member, and what its inputs and outputs mean.

    Args:
        folder: folder of a trained member, or any other that `save_side_network` wrote to.

    Returns:
        The side network, of one member, on the CPU, in eval mode.

    Raises:
        LosaError: files are missing or damaged, do not belong together, or have another version.
        OSError: a file cannot be read.
    """
    path, tensors_path = Path(folder) / DESCRIPTION_NAME, Path(folder) / TENSORS_NAME
    try:
        encoded = path.read_bytes()
        data = tensors_path.read_bytes()
    except FileNotFoundError as error:
        raise LosaError(f"{folder} holds no side network: {error.filename} is missing") from None
    except NotADirectoryError:
        raise LosaError(f"{folder} is no folder: give the folder that holds {DESCRIPTION_NAME}") from None
    try:
        content = unseal(encoded, path)
    except CorruptCache as error:
        raise LosaError(f"{error}. {_ANEW}") from None
    description = SideNetworkDescription.from_json(content, path)
    if hashlib.sha256(data).hexdigest() != description.tensors_sha256:
        raise LosaError(f"{tensors_path} is damaged: its sha256 is not the one in {path}. {_ANEW}")
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise LosaError(f"{tensors_path} is not a valid file of tensors: {error}") from None
    # Before anything is allocated: the description may ask for more than any memory holds.
    try:
        expected = _expected_tensors(description, tensors)
    except (LosaError, RuntimeError) as error:
        raise LosaError(f"{path} is not a valid description: {error}") from None
    _refuse_other_tensors(tensors, expected, tensors_path)
    constants = {name: tensors[place].numpy() for name, place in _norm_tensors(tensors).items()}
    network = description.make_network(constants, seeds=[0])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(tensors[name])
    return TrainedSideNetwork(
        network=network.eval(),
        columns=description.outputs,
        backbone=description.backbone,
        preprocessing=description.preprocessing,
        features_sha256=description.features_sha256,
        tensors_sha256=description.tensors_sha256,
        origin=description.origin,
    )


def _norm_tensors(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of the constants of the final norm, and of the tensors that hold them."""
    places = {constant: f"head.{buffer}" for constant, buffer in FINAL_NORM_BUFFERS.items()}
    return {constant: place for constant, place in places.items() if place in tensors}


def _expected_tensors(
    description: SideNetworkDescription, tensors: Mapping[str, Tensor]
) -> dict[str, tuple[str, list[int]]]:
    """Dtype and shape of each tensor that the description asks for."""
    shapes = description.make_network({}, seeds=[])
    expected = {name: list(value.shape[1:]) for name, value in shapes.named_parameters()}
    if description.final_norm is not None:
        expected |= {place: [description.width] for place in _norm_tensors(tensors).values()}
    return {name: ("float32", shape) for name, shape in expected.items()}


def _refuse_other_tensors(
    tensors: Mapping[str, Tensor], expected: dict[str, tuple[str, list[int]]], path: Path
) -> None:
    found = {
        name: (str(value.dtype).removeprefix("torch."), list(value.shape)) for name, value in tensors.items()
    }
    if found != expected:
        names = [name for name in found | expected if found.get(name) != expected.get(name)]
        told = [
            {name: "{}{}".format(*these[name]) for name in names if name in these}
            for these in (expected, found)
        ]
        raise LosaError(f"{path}: expected tensors {told[0]}, found {told[1]}")
