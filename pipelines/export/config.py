"""The options of losa-export. Each one is explained in conf/export.yaml."""

from dataclasses import field

from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.pipelines.classifier.matching_backbone import BackboneSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExportConfig:
    """The options of one export."""

    to: str
    ensemble: bool = False
    images: str | list[str] | None = None
    backbone: BackboneSource = field(default_factory=BackboneSource)
    private: bool = True
