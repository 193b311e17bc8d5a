"""The options of an extraction. Each one is explained in conf/extract.yaml."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.fields import STRICT, Name
from losa.cache_format.identity import ComputeDtype
from losa.cache_format.stores import StoreName
from losa.cache_format.views import parse_views_split

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DatasetConfig:
    """The data set, and where its images are."""

    kind: Literal["digits", "folder", "lists"]
    name: str
    root: str | None = None
    subfolder: str | None = None
    num_classes: Positive | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackboneConfig:
    """The frozen backbone and its weights."""

    name: str
    pretrained: bool = True
    checkpoint: str | None = None
    seed: int = 0
    img_size: Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None
    args: dict[str, JsonValue] | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExtractConfig:
    """The options of one extraction."""

    dataset: DatasetConfig
    backbone: BackboneConfig
    cache: str
    splits: list[Name] | None = None
    limit: Positive | None = None
    views: Positive = 1
    view_crop: Annotated[float, Field(gt=0, le=1)] = 0.6
    view_flip: bool = True
    sites: int | str | list[int | str] = "all"
    codec: CodecName = "int8"
    store: StoreName = "zarr"
    compressor: CompressorName | None = None
    rows_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    device: str = "auto"
    dtype: ComputeDtype = "float32"
    batch_size: Positive = 32
    workers: Annotated[int, Field(ge=0)] | None = None
    on_error: Literal["fail", "skip"] = "fail"
    plan: bool = False

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        if self.views > 1 and not self.splits:
            raise ValueError(
                f"views={self.views} needs the names of the splits to train on: splits=[train800val200]"
            )
        named = [name for name in self.splits or () if parse_views_split(name)[1] > 1]
        if self.views > 1 and named:
            raise ValueError(f"{named[0]} in splits=[...] says how many views: leave out views={self.views}")
