"""The options of losa-serve. Each one is explained in conf/serve.yaml."""

from dataclasses import field
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.cache_format.identity import ComputeDtype
from losa.extract.config import Positive
from losa.pipelines.classifier.matching_backbone import BackboneSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ServeConfig:
    """The options of a server."""

    top: Positive = 5
    ensemble: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    max_upload: Positive = 20_000_000
    max_pixels: Positive = 50_000_000
    backbone: BackboneSource = field(default_factory=BackboneSource)
    device: str = "auto"
    dtype: ComputeDtype = "float32"
