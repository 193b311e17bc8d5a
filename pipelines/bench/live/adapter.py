"""Bottleneck adapters (Houlsby et al., arXiv 1902.00751) in a live backbone. HF peft has none of them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from losa.cache_format import LosaError
from losa.pipelines.bench.live.head import add_head


class Adapter(nn.Module):
    """A bottleneck with a skip connection: h + up(GELU(down(h))), which starts as the identity."""

    def __init__(self, width: int, rank: int) -> None:
        """Initialise the down-projection as torch does linear layers, and the up-projection with zeros.

        Args:
            width: channels of a token.
            rank: channels of the bottleneck.
        """
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Float[Tensor, "images tokens width"]) -> Float[Tensor, "images tokens width"]:
        """Add the output of the bottleneck."""
        added: Tensor = self.up(functional.gelu(self.down(hidden)))
        return hidden + added


def add_adapters(backbone: nn.Module, *, rank: int, num_classes: int, seed: int) -> nn.Module:
    """Return a timm vision transformer with an adapter after the MLP of every block, and a new head.

    It stands before the skip connection of the MLP, as in figure 2 of Houlsby et al. There is none after the
    attention: Pfeiffer et al. (AdapterFusion, arXiv 2005.00247) found one in a block to be enough.

    Args:
        backbone: a vision transformer, changed in place. All of its own parameters are frozen.
        rank: channels of the bottlenecks.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: the backbone has a block without an MLP, or is one that `add_head` refuses.
    """
    model: Any = add_head(backbone, num_classes=num_classes, seed=seed)
    blocks = list(getattr(model, "blocks", ()))
    if not blocks or not all(hasattr(block, "mlp") for block in blocks):
        raise LosaError(
            f"{type(model).__name__} has no list of blocks with an MLP in each, after which an adapter "
            "stands: leave the method out"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for block in blocks:
            block.mlp = nn.Sequential(block.mlp, Adapter(model.num_features, rank))
    return backbone
