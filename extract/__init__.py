"""Stage 1: a frozen backbone runs once over a data set and its activations go to a cache."""

from losa.extract.backbone import FrozenBackbone, load_backbone
from losa.extract.config import BackboneConfig, DatasetConfig, ExtractConfig
from losa.extract.extraction import Extraction, extract
from losa.extract.sources import ImageSource, open_source

__all__ = [
    "BackboneConfig",
    "DatasetConfig",
    "ExtractConfig",
    "Extraction",
    "FrozenBackbone",
    "ImageSource",
    "extract",
    "load_backbone",
    "open_source",
]
