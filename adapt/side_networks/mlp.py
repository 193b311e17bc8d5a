"""The MLP probe: the linear probe with one hidden layer.

    scores = W gelu(H norm(pool(b_L)) + h) + c

b_L are the cached activations of the last site, and norm is the backbone's final norm. It is the usual step
after a linear probe and comes from no particular paper. Ours are the GELU, the size of the hidden layer
(``rank``, so that it is swept like the rank of the other kinds) and the initialisation: H is normal with
standard deviation 1/sqrt(width), and h is zero.
"""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import Drop
from losa.adapt.side_networks.linear import LinearProbe
from losa.adapt.side_networks.parameters import member_constant, member_normal


class MLPProbe(LinearProbe):
    """One hidden layer: ``(width + 1) * rank`` parameters, and the head's ``(rank + 1) * classes``."""

    options: ClassVar[tuple[str, ...]] = ("rank", "pool")
    has_dropout: ClassVar[bool] = True
    default_rank: ClassVar[int] = 64
    default_dropout: ClassVar[float] = 0.3

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        rank, width = architecture.rank, features.width
        self.hidden_weight = member_normal(seeds, "hidden_weight", (rank, width), width**-0.5)
        self.hidden_bias = member_constant(seeds, (rank,), 0.0)

    def head_inputs(self) -> int:
        """Number of hidden units."""
        return self.architecture.rank

    def scores(
        self, pooled: Float[Tensor, "members images width"], drop: Drop
    ) -> Float[Tensor, "members images classes"]:
        """Final norm, hidden layer, linear layer."""
        hidden = self.head.normalise(pooled) @ self.hidden_weight.mT + self.hidden_bias[:, None]
        return self.head.classify(drop(functional.gelu(hidden), "hidden"))
