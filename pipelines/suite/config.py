"""The options of a suite. conf/vtab1k.yaml and conf/fgvc.yaml explain them and have their defaults."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from losa.cache_format.codecs import CodecName
from losa.cache_format.common.fields import STRICT
from losa.cache_format.common.threads import Threads
from losa.cache_format.identity import ComputeDtype
from losa.extract import BackboneConfig
from losa.extract.config import Interpolation, PerChannel, Positive
from losa.pipelines.evaluation.config import PredictionFormat


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExtractOptions:
    """The options of losa-extract that all caches of a suite share."""

    resize: Literal["crop", "squash", "pad"] | None
    crop_pct: Annotated[float, Field(gt=0, le=10)] | None
    interpolation: Interpolation | None
    mean: PerChannel | None
    std: PerChannel | None
    exif: Literal["apply", "ignore"]
    sites: int | str | list[int | str]
    grid: int | str | None
    codec: CodecName
    dtype: ComputeDtype
    batch_size: Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SuiteConfig:
    """The options of one run of a suite."""

    root: str
    tasks: Annotated[list[str], Field(min_length=1)] | None
    backbone: BackboneConfig
    sweep: dict[str, JsonValue]
    select: list[str]
    seeds: Positive
    choice_seeds: Positive
    extract: ExtractOptions
    predictions: PredictionFormat
    device: str
    threads: Threads
    workers: Annotated[int, Field(ge=0)] | None
    out: str
    plan: bool
