"""The residual stream with low-rank updates: its interfaces, plain implementations and fast ones."""

from losa.adapt.streams.contract import (
    NORM_EPS,
    FrameStream,
    SpaceTimeStream,
    Stream,
    StreamSites,
)
from losa.adapt.streams.factored import Factored
from losa.adapt.streams.factored_frames import FactoredFrames
from losa.adapt.streams.frozen_features import FrozenFeatures
from losa.adapt.streams.materialised import Materialised
from losa.adapt.streams.materialised_frames import MaterialisedFrames
from losa.adapt.streams.pooling import pool_tokens, pooled_tokens
from losa.adapt.streams.summed_frames import SummedFrames

__all__ = [
    "NORM_EPS",
    "Factored",
    "FactoredFrames",
    "FrameStream",
    "FrozenFeatures",
    "Materialised",
    "MaterialisedFrames",
    "SpaceTimeStream",
    "Stream",
    "StreamSites",
    "SummedFrames",
    "pool_tokens",
    "pooled_tokens",
]
