"""What shapes a side network, apart from how it is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.cache_format.errors import LosaError

SideKind = Literal["losa", "last", "relay", "lst", "linear", "mlp", "attentive"]
Norm = Literal["layer", "frozen", "none"]
Pool = Literal["cls", "mean"]
Start = Literal["last", "first"]
Order = Literal["channel_token", "token_channel"]
Rank = Annotated[int, Field(ge=1, le=4096)]
Heads = Annotated[int, Field(ge=1, le=4096)]

_RELEVANT = {
    "losa": ("rank", "order", "norm", "bias", "start", "pool"),
    "last": ("rank", "heads", "norm", "pool"),
    "relay": ("rank", "norm", "pool"),
    "lst": ("rank", "heads", "norm", "pool"),
    "linear": ("pool",),
    "mlp": ("rank", "pool"),
    "attentive": ("heads", "norm"),
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A kind of side network and the options that shape it."""

    side: SideKind
    rank: Rank
    heads: Heads
    order: Order
    norm: Norm
    pool: Pool
    bias: bool
    start: Start

    def relevant(self) -> dict[str, Any]:
        """The options that concern this kind: a linear probe has no rank."""
        return {"side": self.side} | {name: getattr(self, name) for name in _RELEVANT[self.side]}

    @property
    def idle_options(self) -> frozenset[str]:
        """Names of the options that have no effect on this kind."""
        return self.options().difference(self.relevant())

    def refuse_uneven_heads(self) -> None:
        """Refuse a rank that cannot be divided among the heads."""
        if self.rank % self.heads:
            raise LosaError(f"rank={self.rank}: side={self.side} needs a multiple of heads={self.heads}")

    @classmethod
    def options(cls) -> frozenset[str]:
        """Names of all of them."""
        return frozenset(cls.__dataclass_fields__)
