"""The options of losa-predict. Each one is explained in conf/predict.yaml."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.cache_format.identity import ComputeDtype
from losa.extract.config import MAX_PIXELS, Positive
from losa.pipelines.classifier.matching_backbone import BackboneSource
from losa.pipelines.predict.formats import FormatName


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictConfig:
    """The options of one prediction, which are those of a forward pass, too."""

    top: Positive = 5
    ensemble: bool = False
    format: FormatName = "table"
    out: str | None = None
    backbone: BackboneSource = field(default_factory=BackboneSource)
    device: str = "auto"
    dtype: ComputeDtype = "float32"
    batch_size: Positive = 32
    workers: Annotated[int, Field(ge=0)] | None = None
    max_pixels: Positive = MAX_PIXELS
    clips: Positive = 1
    crops: Positive = 1

    @property
    def on_error(self) -> Literal["skip"]:
        """Images that cannot be read are named and left out."""
        return "skip"
