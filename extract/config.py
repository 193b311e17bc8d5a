"""The options of an extraction. Each one is explained once, with its unit, on its line in conf/."""

from collections.abc import Collection, Set
from dataclasses import MISSING, field, fields
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.as_typed import as_typed
from losa.cache_format.common.fields import STRICT, Name
from losa.cache_format.common.threads import Threads
from losa.cache_format.engines.config import EngineConfig
from losa.cache_format.identity import ColourValue, ComputeDtype, FrameSampling
from losa.cache_format.stores import StoreName
from losa.cache_format.views import parse_views_split
from losa.extract.grid_pooling import parse_grid
from losa.extract.media import Media
from losa.extract.parts import Part

Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A seed that torch takes."""
FgvcLayout = Literal["cub", "nabirds", "flowers", "dogs", "cars"]
MEDIA_OF_KINDS: dict[str, tuple[Media, ...]] = {
    "folder": ("images", "videos", "frames"),
    "lists": ("images", "videos"),
    "table": ("images", "videos"),
    "webdataset": ("images", "videos"),
    "python": ("images", "videos", "frames"),
}
"""What data sets of a kind may hold; those of other kinds hold images."""
_LISTED = {"root", "subfolder", "num_classes", "encoding"}
_COLUMNS = {"image_column", "label_columns", "num_classes"}
_SHARDS = {"shards", "image_field", "label_fields", "index_folder"}
OPTIONS_OF_KINDS: dict[str, set[str]] = {
    "digits": set(),
    "folder": {"root", "subfolder"},
    "lists": _LISTED,
    "tasks": {"root", "subfolder", "tasks", "encoding"},
    "table": {*_LISTED, *_COLUMNS, "file", "split_column"},
    "fgvc": {"root", "subfolder", "layout"},
    "webdataset": {"root", "subfolder", "num_classes", *_SHARDS},
    "timm": {"root", "subfolder", *_COLUMNS, "source", "splits", "download"},
    "huggingface": {"root", "subfolder", *_COLUMNS},
}
"""Options that data sets of a kind read, beside ``name`` and ``media``. A program's are not checked."""
DEFAULT_FRAMES = 8
"""Frames of a clip, unless an option says otherwise."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
SplitParts = int | float | list[int | float] | dict[Name, int | float]
NEEDS_SPLIT = "needs split=..., the parts to cut a split into"
MAX_PIXELS = 178_956_970
"""Above it, Pillow refuses an image as a decompression bomb, unless told otherwise."""
PerChannel = float | Annotated[list[float], Field(min_length=1)]
"""One number for all channels, or one for each."""
Colour = Annotated[list[ColourValue], Field(min_length=3, max_length=3)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TaskConfig:
    """One of several tasks that label the same images: the folder of its lists, and its classes."""

    subfolder: str
    """Folder of its lists, below that of the data set."""
    num_classes: Positive | None = None
    """Number of its classes; None: the highest label in its lists, plus one."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DatasetConfig:
    """The data set, and where its images are.

    Options are explained in the files of ``conf/dataset/``, one for each kind. ``kind="python"`` is for a
    source that a program gives, with a name of its own.

    Raises:
        ValueError: an option is unknown, out of its range, or not for this kind of data set.
    """

    kind: Literal[
        "digits",
        "folder",
        "lists",
        "table",
        "tasks",
        "fgvc",
        "webdataset",
        "timm",
        "huggingface",
        "python",
    ]
    name: str
    media: Media = "images"
    root: str | None = None
    subfolder: str | None = None
    file: str | Annotated[list[str], Field(min_length=1)] | None = None
    image_column: str | None = None
    label_columns: list[str] | None = None
    split_column: str | None = None
    tasks: dict[Name, TaskConfig] | None = None
    layout: FgvcLayout | None = None
    source: str | None = None
    splits: Annotated[list[Name], Field(min_length=1)] = field(
        default_factory=lambda: ["train", "validation"]
    )
    download: bool = False
    shards: str | list[str] | dict[Name, str | list[str]] | None = None
    image_field: str | None = None
    label_fields: Annotated[list[str], Field(min_length=1)] | None = None
    index_folder: str | None = None
    encoding: str | None = None
    num_classes: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse options that the kind of data set does not read, and videos where it cannot hold them.

        Raises:
            ValueError: there is such an option.
        """
        read = OPTIONS_OF_KINDS.get(self.kind)
        if read is not None:
            self._refuse_idle(read)
        known = MEDIA_OF_KINDS.get(self.kind, ("images",))
        if self.media not in known:
            takes = [kind for kind, media in MEDIA_OF_KINDS.items() if self.media in media]
            raise ValueError(
                f"dataset.media={self.media}: a data set of kind {self.kind} holds {' or '.join(known)}; "
                f"{self.media} can be in those of kind {', '.join(takes)}"
            )

    def _refuse_idle(self, read: Set[str]) -> None:
        idle = self.__dataclass_fields__.keys() - {"kind", "name", "media", *read}
        if typed := given_options(self, idle):
            option = typed[0].partition("=")[0]
            takes = [kind for kind, options in OPTIONS_OF_KINDS.items() if option in options]
            raise ValueError(
                f"dataset.{typed[0]}: a data set of kind {self.kind} does not read it; those of kind "
                f"{', '.join(takes)} do: choose one with dataset=..."
            )

    @property
    def has_frames(self) -> bool:
        """Whether its items are videos, of which clips of several frames are taken."""
        return self.media != "images"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackboneConfig:
    """The frozen backbone and its weights. Options are explained in ``conf/backbone/vit_b16.yaml``.

    Raises:
        ValueError: an option is unknown or out of its range.
    """

    name: str
    pretrained: bool = True
    checkpoint: str | None = None
    seed: Seed = 0
    img_size: Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None
    args: dict[str, JsonValue] | None = None

    def __post_init__(self) -> None:
        """Refuse a seed of weights that are not random."""
        if self.seed and (self.pretrained or self.checkpoint is not None):
            trained = "pretrained" if self.checkpoint is None else f"of {self.checkpoint}"
            raise ValueError(
                f"backbone.seed={self.seed} has an effect on random weights only, and these are {trained}: "
                "leave it out, or ask for random ones (backbone.pretrained=false, and no checkpoint)"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExtractConfig:
    """The options of one extraction, explained in ``conf/extract.yaml``, which has the same defaults.

    Raises:
        ValueError: an option is unknown or out of its range, or options contradict each other.
    """

    dataset: DatasetConfig
    backbone: BackboneConfig
    cache: str
    splits: Annotated[list[Name], Field(min_length=1)] | None = None
    split: SplitParts | None = None
    split_of: str | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    limit: Positive | None = None
    part: str | None = None
    resize: Literal["crop", "squash", "pad"] | None = None
    crop_pct: Annotated[float, Field(gt=0, le=10)] | None = None
    interpolation: Interpolation | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    exif: Literal["apply", "ignore"] = "apply"
    background: Colour = field(default_factory=lambda: [255, 255, 255])
    max_pixels: Positive = MAX_PIXELS
    frames: Positive | None = None
    stride: Positive | None = None
    clips: Positive = 1
    crops: Positive = 1
    views: Positive = 1
    view_crop: Annotated[float, Field(gt=0, le=1)] = 0.6
    view_flip: bool = True
    sites: int | str | list[int | str] = "all"
    grid: int | str | None = None
    codec: CodecName = "int8"
    store: StoreName = "zarr"
    compressor: CompressorName | None = None
    rows_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    device: str = "auto"
    dtype: ComputeDtype = "float32"
    batch_size: Positive = 32
    workers: Annotated[int, Field(ge=0)] | None = None
    threads: Threads = "auto"
    engine: EngineConfig = field(default_factory=EngineConfig)
    on_error: Literal["fail", "skip"] = "fail"
    plan: bool = False

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            ValueError: there are some.
        """
        if self.grid is not None:
            parse_grid(self.grid)
        self._refuse_idle()
        smallest = min(self.std) if isinstance(self.std, list) else self.std
        if smallest is not None and smallest <= 0:
            raise ValueError(f"std={self.std}: the input is divided by it: expected more than 0")
        if self.part is not None:
            Part.parse(self.part)
        if self.views > 1 and not self.splits:
            raise ValueError(
                f"views={self.views} needs the names of the splits to train on: splits=[train800val200]"
            )
        named = [name for name in self.splits or () if parse_views_split(name)[1] > 1]
        if self.views > 1 and named:
            raise ValueError(f"{named[0]} in splits=[...] says how many views: leave out views={self.views}")

    def _refuse_idle(self) -> None:
        """Refuse options that have no effect without another one."""
        named = any(parse_views_split(name)[1] > 1 for name in self.splits or ())
        of_videos = (
            f"is meant for videos, but dataset={self.dataset.name} holds images: dataset.media=videos, or "
            "dataset=video"
        )
        options = {
            ("split_of", "split_seed"): (self.split is not None, NEEDS_SPLIT),
            ("view_crop", "view_flip"): (
                self.views > 1 or named,
                "is of augmented views, and none are asked for: views=4 makes three of each image",
            ),
            ("frames", "stride", "clips", "crops"): (self.dataset.has_frames, of_videos),
            ("background",): (
                self.dataset.media != "videos",
                "is the colour behind transparent pixels, which frames of videos do not have",
            ),
        }
        for names, (has_effect, why) in options.items():
            if not has_effect and (typed := given_options(self, names)):
                raise ValueError(f"{typed[0]} {why}")

    @property
    def images_per_batch(self) -> int:
        """Images or clips in a batch, in which ``batch_size`` images or frames go through the backbone."""
        return images_per_batch(self.batch_size, self.sampling)

    @property
    def sampling(self) -> FrameSampling | None:
        """Which frames of a video become a clip; None for a data set of images."""
        if not self.dataset.has_frames:
            return None
        return FrameSampling(frames=self.frames or DEFAULT_FRAMES, stride=self.stride)


def given_options(config: Any, names: Collection[str]) -> list[str]:
    """Those of some options that do not have their defaults, as they are typed.

    >>> given_options(BackboneConfig(name="a", pretrained=False, seed=3), ["pretrained", "seed", "args"])
    ['pretrained=false', 'seed=3']

    Args:
        config: a dataclass of options.
        names: names of its fields.
    """
    typed = []
    for option in fields(config):
        default = option.default if option.default_factory is MISSING else option.default_factory()
        value = getattr(config, option.name)
        if option.name in names and value != default:
            typed.append(f"{option.name}={as_typed(value)}")
    return typed


def images_per_batch(batch_size: int, sampling: FrameSampling | None) -> int:
    """Images or clips of a batch in which so many images or frames go through the backbone; at least one."""
    return batch_size if sampling is None else max(1, batch_size // sampling.frames)
