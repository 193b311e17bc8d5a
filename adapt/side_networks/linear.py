"""The linear probe: only the head is trained, on the last site."""

from jaxtyping import Float
from torch import Tensor

from losa.adapt.side_networks.base import SideNetwork
from losa.adapt.stream import pool_tokens


class LinearProbe(SideNetwork):
    """Pooled output of the last site, final norm, linear head."""

    def pooled(
        self, activations: Float[Tensor, "images sites tokens width"]
    ) -> Float[Tensor, "members images width"]:
        """The last site, the same for every member."""
        pooled = pool_tokens(activations[:, -1], self.config.pool, self.features.tokens)
        return pooled.expand(self.members, *pooled.shape)
