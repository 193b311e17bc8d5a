"""The residual stream with low-rank updates: its interface, a plain implementation and a fast one."""

from losa.adapt.streams.contract import (
    NORM_EPS,
    FrameStream,
    Stream,
    StreamSites,
    pooled_tokens,
    pooling_weights,
)
from losa.adapt.streams.factored import Factored
from losa.adapt.streams.factored_frames import FactoredFrames
from losa.adapt.streams.frozen_features import FrozenFeatures
from losa.adapt.streams.materialised import Materialised
from losa.adapt.streams.materialised_frames import MaterialisedFrames

__all__ = [
    "NORM_EPS",
    "Factored",
    "FactoredFrames",
    "FrameStream",
    "FrozenFeatures",
    "Materialised",
    "MaterialisedFrames",
    "Stream",
    "StreamSites",
    "pooled_tokens",
    "pooling_weights",
]
