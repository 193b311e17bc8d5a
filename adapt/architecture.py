"""The options that determine the shape of a side network, as opposed to those of its training."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.cache_format.errors import LosaError

Norm = Literal["layer", "frozen", "none"]
Pool = Literal["cls", "mean"]
Start = Literal["last", "first"]
MixerOrder = Literal["channel_token", "token_channel"]
Mixing = Literal["joint", "factorised"]
Rank = Annotated[int, Field(ge=1, le=4096)]
Heads = Annotated[int, Field(ge=1, le=4096)]
ProbeShare = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A kind of side network and the options that determine its shape, the idle ones included."""

    side: str
    """A key of `losa.adapt.side_networks.SIDE_NETWORKS`."""
    rank: Rank
    heads: Heads
    order: MixerOrder
    norm: Norm
    pool: Pool
    bias: bool
    start: Start
    mixing: Mixing | None = None
    """How the tokens of several frames are mixed: all at once, or in space and in time; None for images."""
    probe_share: ProbeShare = 0.0
    """Share of the class scores that a linear probe of the last site gives; 0: there is no probe."""

    def refuse_uneven_heads(self) -> None:
        """Raise a LosaError if the rank is not a multiple of the number of heads."""
        if self.rank % self.heads:
            raise LosaError(f"rank={self.rank}: side={self.side} needs a multiple of heads={self.heads}")

    @classmethod
    def options(cls) -> frozenset[str]:
        """Names of all fields."""
        return frozenset(cls.__dataclass_fields__)
