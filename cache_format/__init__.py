"""The feature cache: its identity, its files, its writer and its reader. Knows nothing of torch or timm."""

from losa.cache_format.codecs import Calibration, Codec, Codes, calibrate, make_codec
from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import (
    CacheError,
    CacheInUse,
    CorruptCache,
    IdentityMismatch,
    IncompleteCache,
    LosaError,
    NonFiniteActivations,
)
from losa.cache_format.identity import FeatureIdentity
from losa.cache_format.labelled_split import LabelledSplit
from losa.cache_format.manifest import LabelColumn, Manifest, Segment
from losa.cache_format.reader import Cache, Split
from losa.cache_format.repairing import Repair, repair
from losa.cache_format.shards.statistics import SiteStatistics
from losa.cache_format.sites import backbone_sites, select_sites
from losa.cache_format.survey import CacheRequest
from losa.cache_format.verification import Verification, verify
from losa.cache_format.writer import CacheWriter

__all__ = [
    "Cache",
    "CacheError",
    "CacheInUse",
    "CacheRequest",
    "CacheWriter",
    "Calibration",
    "Codec",
    "Codes",
    "CorruptCache",
    "FeatureIdentity",
    "IdentityMismatch",
    "IncompleteCache",
    "LabelColumn",
    "LabelledSplit",
    "LosaError",
    "Manifest",
    "NonFiniteActivations",
    "Repair",
    "Segment",
    "SiteStatistics",
    "Split",
    "SplitContents",
    "Verification",
    "backbone_sites",
    "calibrate",
    "make_codec",
    "repair",
    "select_sites",
    "verify",
]
