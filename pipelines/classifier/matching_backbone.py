"""Makes the backbone that side networks were trained on, and refuses any other."""

from pydantic.dataclasses import dataclass

from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import LosaError
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.fields import STRICT
from losa.extract import BackboneConfig, FrozenBackbone, load_backbone
from losa.extract.backbone_names import find_backbone

_SEED = "seed "


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BackboneSource:
    """Where the backbone is to come from. The defaults are what the side networks were trained on."""

    name: str | None = None
    """Name as for `BackboneConfig`, where the recorded one does not lead to it, as for a local folder."""
    checkpoint: str | None = None
    """File of the weights."""
    pretrained: bool | None = None
    """False: random weights; None: as recorded."""
    seed: int | None = None
    """Seed of random weights; None: as recorded, or 0."""


def matching_backbone(networks: StackedSideNetworks, source: BackboneSource) -> FrozenBackbone:
    """The backbone of side networks.

    Raises:
        LosaError: it cannot be made, or is another one than the networks were trained on; the message says
            in what.
    """
    expected = networks.backbone
    recorded = networks.origin.get("random_weights")
    pretrained = source.pretrained
    if pretrained is None:
        pretrained = recorded is None
    seed = source.seed
    if seed is None:
        seed = int(recorded.removeprefix(_SEED)) if recorded is not None else 0
    name = source.name or expected.name
    named = find_backbone(name)
    _, height, width = networks.preprocessing.input_size
    try:
        backbone = load_backbone(
            BackboneConfig(
                name=name,
                pretrained=pretrained,
                checkpoint=source.checkpoint,
                seed=seed,
                img_size=None if named.img_size == (height, width) else [height, width],
                args={
                    argument: value
                    for argument, value in expected.arguments.items()
                    if named.arguments.get(argument) != value
                },
            )
        )
    except LosaError as error:
        raise LosaError(f"{error}\n{_advice(networks)}") from error
    if different := differences(expected, backbone.identity):
        listed = "\n".join(f"  {field}: expected {ours}, found {theirs}" for field, ours, theirs in different)
        raise LosaError(
            f"this is not the backbone that the side networks were trained on:\n{listed}\n{_advice(networks)}"
        )
    return backbone


def _advice(networks: StackedSideNetworks) -> str:
    """Where the right weights are, as far as it is known."""
    file = networks.origin.get("checkpoint")
    asked = networks.origin.get("requested_backbone", networks.backbone.name)
    if file is not None:
        return f"They were trained on the weights of a file {file}: name it with backbone.checkpoint=<file>"
    if seed := networks.origin.get("random_weights"):
        return f"They were trained on random weights of {asked}: backbone.pretrained=false, {seed}"
    return f"They were trained on the pretrained weights of {asked}; backbone.checkpoint=<file> takes a file"
