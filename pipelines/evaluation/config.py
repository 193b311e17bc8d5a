"""The options of an evaluation. Each one is explained in conf/evaluate.yaml."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.cache_format.identity import ComputeDtype
from losa.extract import DatasetConfig
from losa.extract.config import MAX_PIXELS, NEEDS_SPLIT, Positive, SplitParts, given_options
from losa.pipelines.classifier.matching_backbone import BackboneSource

PredictionFormat = Literal["csv", "parquet", "none"]
_OF_DATASETS = ("split", "split_of", "split_seed")
_OF_IMAGES = ("dtype", "max_pixels", "on_error")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluateConfig:
    """The options of one evaluation."""

    dataset: DatasetConfig | None = None
    cache: str | None = None
    eval_split: str = "test"
    split: SplitParts | str | None = None
    split_of: str | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    limit: Positive | None = None
    clips: Positive = 1
    crops: Positive = 1
    backbone: BackboneSource = field(default_factory=BackboneSource)
    device: str = "auto"
    dtype: ComputeDtype = "float32"
    batch_size: Positive = 32
    workers: Annotated[int, Field(ge=0)] | None = None
    max_pixels: Positive = MAX_PIXELS
    on_error: Literal["fail", "skip"] = "fail"
    ensemble: bool = False
    predictions: PredictionFormat = "csv"
    out: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse options that contradict each other, or that name no images."""
        if (self.cache is None) == (self.dataset is None):
            found = "both are given" if self.cache is not None else "neither is given"
            raise ValueError(
                "which images? cache=<folder of a cache>, or dataset=<name> for images that no cache has: "
                f"expected one of the two, {found}"
            )
        if isinstance(self.split, str):
            raise ValueError(
                f"split={self.split}: split=... cuts a data set, as split=0.8 does; eval_split={self.split} "
                "chooses the split to judge on"
            )
        given = given_options(self, _OF_DATASETS)
        if self.cache is not None and given:
            raise ValueError(f"{given[0]}: a cache has its splits already; eval_split=... chooses one")
        idle = given_options(self, _OF_IMAGES)
        if self.cache is not None and idle:
            raise ValueError(f"{idle[0]}: a cache has the activations already, so no image is read")
        if self.cache is not None and self.backbone != BackboneSource():
            raise ValueError("backbone.*=...: a cache has the activations already, so no backbone is run")
        several = {"clips": self.clips, "crops": self.crops}
        asked = [f"{name}={number}" for name, number in several.items() if number > 1]
        if self.cache is not None and asked:
            raise ValueError(
                f"{asked[0]}: a cache has its clips already, in a split of their own: "
                "eval_split=test-clips4x1, if it was extracted with splits=[...,test-clips4x1]"
            )
        if self.split is None and given:
            raise ValueError(f"{given[0]} {NEEDS_SPLIT}")
