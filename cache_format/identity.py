"""The feature identity: everything that determines the features of an image.

Two caches with equal feature identities hold the same features for the same image. The manifest
(`losa.cache_format.manifest`) adds the parts that may grow: segments, splits and labels.
"""

import hashlib
from dataclasses import asdict, field
from typing import Annotated, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from losa.cache_format.codecs import CodecName
from losa.cache_format.common.fields import STRICT, Name, Sha256, Size
from losa.cache_format.sites import SiteSelection
from losa.cache_format.storage.sealed_json import canonical
from losa.cache_format.sums import stored_selection

ComputeDtype = Literal["float32", "tf32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BackboneIdentity:
    """The network and its weights."""

    name: str
    """timm's name of the architecture, with the tag of the pretrained weights if it has one; or
    ``hf-hub:<owner>/<model>``."""
    weights_sha256: Sha256
    """Hash of the tensors as loaded, classification head excluded."""
    depth: Annotated[int, Field(ge=1, le=10_000)]
    """Number of blocks or stages."""
    architecture: str | None = None
    """timm's name of the architecture, if the name is that of a model on a hub."""
    arguments: dict[str, JsonValue] = field(default_factory=dict)
    """Arguments that change the architecture, as timm's ``create_model`` takes them."""


ColourValue = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ImageDecoding:
    """How an image of any pixel format becomes 8-bit RGB."""

    version: Literal[1] = 1
    """Version of the rules for the pixel formats: 16-bit grey is scaled, the first frame is taken."""
    exif: Literal["apply", "ignore"]
    """Whether an image is turned as its EXIF orientation says."""
    background: tuple[ColourValue, ColourValue, ColourValue]
    """RGB colour behind transparent pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FrameSampling:
    """Which frames of a video become a clip."""

    version: Literal[1] = 1
    """Version of the rules on docs/video.md by which the frames are chosen."""
    frames: Annotated[int, Field(ge=1, le=65_536)]
    """Number of frames of a clip."""
    stride: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Distance from a frame to the next, in frames of the video; None: spread evenly over all of it."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Preprocessing:
    """How an image becomes the backbone's input: decoded to RGB, then by timm's evaluation transform."""

    input_size: tuple[Size, Size, Size]
    """Channels, height, width."""
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: Annotated[float, Field(gt=0, le=10)]
    crop_mode: str
    """timm's name: center (crop), squash (the aspect ratio is not kept) or border (pad)."""
    decoding: ImageDecoding | None = None
    """None in early caches, which recorded no rules: Pillow's conversion to RGB, EXIF data ignored."""
    sampling: FrameSampling | None = None
    """How the frames of a video are chosen; None for images."""

    @property
    def frames(self) -> int:
        """Number of frames that go through the backbone for an image; 1 unless it is a clip of a video."""
        return 1 if self.sampling is None else self.sampling.frames

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network input of an image: ``input_size``, with the frames before it for a clip."""
        return self.input_size if self.sampling is None else (self.sampling.frames, *self.input_size)

    def __post_init__(self) -> None:
        """Refuse a mean or a standard deviation without exactly one number per channel."""
        channels = self.input_size[0]
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"mean and std: expected {channels} numbers each, one for every channel")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TokenLayout:
    """Layout of the token axis: frame by frame, each with its prefix tokens and then its grid, row by row.

    The index of position ``p`` in frame ``f`` is ``f * (prefix + grid height * grid width) + p``.
    """

    cls: Annotated[int, Field(ge=0, le=16)]
    """Number of class tokens (a distilled DeiT has two)."""
    registers: Annotated[int, Field(ge=0, le=1024)]
    grid: tuple[Size, Size]
    """Height and width of the grid in patches, or in means over patches."""
    frames: Annotated[int, Field(ge=1, le=65_536)] = 1
    pooled_from: tuple[Size, Size] | None = None
    """Height and width of the backbone's grid in patches, of which each token of the grid is the mean over a
    rectangle; None: the tokens of the grid are those of the backbone."""

    def __post_init__(self) -> None:
        """Refuse a pooled grid that is not a smaller one with sides that divide those of the backbone's."""
        if self.pooled_from is None:
            return
        sides = tuple(zip(self.pooled_from, self.grid, strict=True))
        if self.grid == self.pooled_from or any(whole % part for whole, part in sides):
            raise ValueError(
                f"a grid of {self.grid[0]} x {self.grid[1]} is not pooled from {self.pooled_from[0]} x "
                f"{self.pooled_from[1]}: expected a smaller one, whose sides divide these"
            )

    @property
    def prefix(self) -> int:
        """Number of tokens before the grid in each frame."""
        return self.cls + self.registers

    @property
    def count(self) -> int:
        """Length of the token axis."""
        return self.frames * (self.prefix + self.grid[0] * self.grid[1])


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SiteGroup:
    """Sites whose activations have the same shape and are stored in one array."""

    sites: Annotated[tuple[str, ...], Field(min_length=1, max_length=10_001)]
    tokens: TokenLayout
    width: Size

    def __post_init__(self) -> None:
        """Refuse sites that are not unique."""
        if len(set(self.sites)) != len(self.sites):
            raise ValueError(f"sites are not unique: {', '.join(self.sites)}")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FinalNorm:
    """The backbone's norm after its last block. Its weight and bias are constants of the cache."""

    kind: Literal["layer_norm", "rms_norm"]
    eps: Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FeatureIdentity:
    """Everything that determines the features of an image."""

    backbone: BackboneIdentity
    preprocessing: Preprocessing
    site_groups: Annotated[tuple[SiteGroup, ...], Field(min_length=1, max_length=1)]
    """One group in version 1; backbones with mixed widths will need several."""
    views: Annotated[int, Field(ge=1, le=1)] = 1
    """Number of augmented views of each image. Version 1 has one, the evaluation transform."""
    norm_applied: Literal[False] = False
    """Whether the final norm was applied before storing. In version 1 it never is."""
    compute_dtype: ComputeDtype
    """Dtype of the backbone's computations."""
    codec: CodecName
    """How activations are stored."""
    codec_version: Literal[1] = 1
    codec_parameters: Annotated[dict[Name, int | float | str], Field(max_length=0)] = field(
        default_factory=dict
    )
    """Parameters of the codec. The codecs of version 1 have none."""
    final_norm: FinalNorm | None
    """None if the backbone has none, or no plain list of blocks before it."""
    constants: dict[Name, Sha256]
    """Name -> hash of each frozen array in the cache (codec calibration, final norm)."""

    @property
    def group(self) -> SiteGroup:
        """The one site group of version 1."""
        return self.site_groups[0]

    def select(self, selection: SiteSelection) -> tuple[str, ...]:
        """The selected ones of the stored sites, in order.

        Args:
            selection: a number of evenly spaced blocks or stages, ``"all"`` (all but ``embed``), a name, or a
                list of these. A sum of sites is found by any of its spellings.

        Raises:
            LosaError: the selection is wrong, or a site is not stored.
        """
        return stored_selection(selection, self.group.sites, self.backbone.depth)

    @property
    def sha256(self) -> str:
        """Hash of the identity, in hexadecimal.

        Fields that are None or empty are left out, so that a field added by a later version does not
        change the hashes of existing caches.
        """
        return hashlib.sha256(canonical(_present(asdict(self)))).hexdigest()


def _present(value: object) -> object:
    if isinstance(value, dict):
        parts = {key: _present(item) for key, item in value.items()}
        return {key: item for key, item in parts.items() if item is not None and item != {}}
    return [_present(item) for item in value] if isinstance(value, list | tuple) else value
