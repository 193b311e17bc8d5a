"""Side networks on as many images at once as memory allows."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.trained.stacked import StackedSideNetworks


class MicroBatches:
    """Computes the class scores of a batch at once or, where memory is short, in micro-batches.

    Each operation on few images costs nearly as much as on many, so a micro-batch is only halved when memory
    runs out, and stays as small for the batches that follow.
    """

    def __init__(self, networks: StackedSideNetworks) -> None:
        """Begin with whole batches."""
        self._networks = networks
        self._most: int | None = None

    def __call__(
        self, activations: Float[Tensor, "images sites tokens width"], sites: Sequence[str]
    ) -> tuple[Float[Tensor, "images _"], ...]:
        """Class scores of each side network, over all its label columns; no gradients are kept.

        Args:
            activations: activations of at least one image, on the device of the networks.
            sites: names along the sites axis.

        Raises:
            LosaError: the activations do not fit the networks.
            torch.cuda.OutOfMemoryError: the memory is too small for a single image.
        """
        while True:
            size = min(len(activations), self._most or len(activations))
            try:
                with torch.inference_mode():
                    parts = [self._networks(part.float(), sites) for part in activations.split(size)]
                    return tuple(torch.cat(scores) for scores in zip(*parts, strict=True))
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise
                self._most = size // 2
                torch.cuda.empty_cache()
