"""Makes the backbone that side networks were trained on, and refuses any other."""

from pydantic.dataclasses import dataclass

from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import LosaError
from losa.cache_format.common.comparison import differences, listed
from losa.cache_format.common.fields import STRICT
from losa.extract import BackboneConfig, FrozenBackbone, load_backbone
from losa.extract.backbone_names import FOLDER, HUB, find_backbone
from losa.extract.config import Seed

_SEED = "seed "


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BackboneSource:
    """Where the backbone is to come from. The defaults are what the side networks were trained on."""

    name: str | None = None
    """Name as for `BackboneConfig`, if the recorded one does not lead to it, as for a folder that moved."""
    checkpoint: str | None = None
    """File of the weights."""
    pretrained: bool | None = None
    """False: random weights; None: as recorded."""
    seed: Seed | None = None
    """Seed of random weights; None: as recorded, or 0."""


def matching_backbone(networks: StackedSideNetworks, source: BackboneSource) -> FrozenBackbone:
    """The backbone of side networks, which pools the grid of its tokens if their features were pooled.

    Raises:
        LosaError: it cannot be made, or is another one than the networks were trained on; the message says
            in what, and where the right one is.
    """
    tokens = networks.tokens
    try:
        backbone = load_backbone(
            _config(networks, source), None if tokens.pooled_from is None else tokens.grid, tokens.frames
        )
    except LosaError as error:
        raise LosaError(f"{error}\n{_advice(networks)}") from error
    if different := differences(networks.backbone, backbone.identity):
        raise LosaError(
            "this is not the backbone that the side networks were trained on:\n"
            f"{listed(different)}\n{_advice(networks)}"
        )
    return backbone


def _config(networks: StackedSideNetworks, source: BackboneSource) -> BackboneConfig:
    """The options that lead to the backbone, as far as they are recorded or given."""
    recorded = networks.origin
    if "checkpoint" in recorded and source.checkpoint is None and source.pretrained is None:
        raise LosaError("where the weights of the backbone are is not recorded, only the name of their file")
    random_weights = recorded.get("random_weights")
    pretrained = random_weights is None if source.pretrained is None else source.pretrained
    is_random = not pretrained and source.checkpoint is None
    if source.seed is not None and not is_random:
        raise LosaError(
            f"backbone.seed={source.seed} has an effect on random weights only: backbone.pretrained=false"
        )
    recorded_seed = int(random_weights.removeprefix(_SEED)) if random_weights is not None else 0
    name = source.name or _recorded_name(networks)
    named = find_backbone(name)
    _, height, width = networks.preprocessing.input_size
    return BackboneConfig(
        name=name,
        pretrained=pretrained,
        checkpoint=source.checkpoint,
        seed=(recorded_seed if source.seed is None else source.seed) if is_random else 0,
        img_size=None if named.img_size == (height, width) else [height, width],
        args={
            argument: value
            for argument, value in networks.backbone.arguments.items()
            if named.arguments.get(argument) != value
        },
    )


def _recorded_name(networks: StackedSideNetworks) -> str:
    """The name that the backbone was extracted by, with the commit of a model on the hub."""
    name = networks.backbone.name
    if name.startswith(HUB) and (revision := networks.origin.get("revision")) is not None:
        return f"{name}@{revision}"
    asked = networks.origin.get("requested_backbone", name)
    return asked if asked.startswith(FOLDER) else name


def _advice(networks: StackedSideNetworks) -> str:
    """Where the right weights are, as far as it is known."""
    name = _recorded_name(networks)
    if (file := networks.origin.get("checkpoint")) is not None:
        return f"They were trained on the weights of a file {file} for {name}: backbone.checkpoint=<file>"
    if (seed := networks.origin.get("random_weights")) is not None:
        number = seed.removeprefix(_SEED)
        return (
            f"They were trained on random weights of {name}: backbone.pretrained=false backbone.seed={number}"
        )
    if name.startswith(FOLDER):
        return f"They were trained on {name}: if it has moved, backbone.name={FOLDER}<folder>"
    return f"They were trained on the pretrained weights of {name}; backbone.checkpoint=<file> takes a file"
