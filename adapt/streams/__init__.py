"""The residual stream with low-rank updates: its contract, the plain implementation and the fast one."""

from losa.adapt.streams.bases import FrozenFeatures
from losa.adapt.streams.contract import NORM_EPS, Stream, StreamCourse, pooling_weights
from losa.adapt.streams.factored import Factored
from losa.adapt.streams.materialised import Materialised

__all__ = [
    "NORM_EPS",
    "Factored",
    "FrozenFeatures",
    "Materialised",
    "Stream",
    "StreamCourse",
    "pooling_weights",
]
