"""Stage 1: runs a frozen backbone once over a data set and writes its activations to a cache."""

from losa.extract.backbone import FrozenBackbone
from losa.extract.config import BackboneConfig, DatasetConfig, ExtractConfig
from losa.extract.extraction import Extraction, extract
from losa.extract.loading import load_backbone
from losa.extract.sources import ArraySource, ImageSource, TorchDatasetSource, open_source

__all__ = [
    "ArraySource",
    "BackboneConfig",
    "DatasetConfig",
    "ExtractConfig",
    "Extraction",
    "FrozenBackbone",
    "ImageSource",
    "TorchDatasetSource",
    "extract",
    "load_backbone",
    "open_source",
]
