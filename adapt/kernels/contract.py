"""What the kernels of processors and of GPUs have in common."""

from typing import Protocol

from jaxtyping import Float, Int64
from torch import Tensor


class Kernels(Protocol):
    """Kernels that both have. All tensors are contiguous, on a device of that kind."""

    def attention(
        self,
        projected: Float[Tensor, "batch 3 heads channels tokens"],
        read: range,
        attended: Float[Tensor, "batch heads channels tokens"],
        statistics: Float[Tensor, "batch heads 2 read"],
        grads: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Compute softmax attention, or its gradients, in float32.

        Args:
            projected: queries, keys and values.
            read: tokens whose result is read. All tokens are attended to.
            attended: where the results are written, or what they were.
            statistics: for each query the greatest similarity, times log2(e), and one over the sum of the
                exponentials: written and read like the results.
            grads: gradients of ``attended``, and where those of ``projected`` are written; None to compute
                results. Gradients of queries that are not read are not written.
        """

    def dropout(
        self,
        keys: Int64[Tensor, "members"],
        least_kept: Int64[Tensor, "members"],
        scales: Float[Tensor, "members"],
        first_image: int,
        factors: Float[Tensor, "members images *rest"],
    ) -> None:
        """Compute the factor of each value, zero or the scale of its member.

        Args:
            keys: the key of each member's mask.
            least_kept: the least number of a value that is kept.
            scales: the factor of values that are kept.
            first_image: position in the batch of the first image.
            factors: where they are written.
        """
