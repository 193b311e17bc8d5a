"""The options of a suite. conf/vtab1k.yaml and conf/fgvc.yaml explain them and have their defaults."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError
from pydantic.dataclasses import dataclass

from losa.cache_format.codecs import CodecName
from losa.cache_format.common.fields import STRICT
from losa.cache_format.common.threads import Threads
from losa.cache_format.identity import ComputeDtype
from losa.cache_format.storage.paths import local_path
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig
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

    def __post_init__(self) -> None:
        """Refuse options of an extraction that contradict each other."""
        try:
            self.extraction(DatasetConfig(kind="digits", name="digits"), "cache")
        except ValidationError as error:
            (problem, *_) = error.errors()
            raise ValueError(f"extract.{problem['ctx']['error']}") from None

    @property
    def folder(self) -> Path:
        """The folder of caches, members and results."""
        return local_path(self.out)

    def extraction(self, dataset: DatasetConfig, cache: str, **options: Any) -> ExtractConfig:
        """The options of the extraction of a data set, with more of its own."""
        shared = {field.name: getattr(self.extract, field.name) for field in fields(ExtractOptions)}
        return ExtractConfig(
            dataset=dataset,
            backbone=self.backbone,
            cache=cache,
            device=self.device,
            threads=self.threads,
            workers=self.workers,
            **shared,
            **options,
        )
