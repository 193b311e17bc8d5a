"""BitFit (Ben Zaken et al., arXiv 2106.10199) in a live backbone: only biases are trained."""

from torch import nn

from losa.cache_format import LosaError
from losa.pipelines.bench.live.head import add_head


def add_bitfit(backbone: nn.Module, *, num_classes: int, seed: int) -> nn.Module:
    """Return a timm vision transformer whose biases are trained, all of them, with a new head.

    Args:
        backbone: a vision transformer, changed in place.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: the backbone has no biases, or is one that `add_head` refuses.
    """
    model = add_head(backbone, num_classes=num_classes, seed=seed)
    biases = [
        weight
        for name, weight in model.named_parameters()
        if name.endswith("bias") and not weight.requires_grad
    ]
    if not biases:
        raise LosaError(f"{type(model).__name__} has no biases, which BitFit trains: leave the method out")
    for bias in biases:
        bias.requires_grad_(True)
    return model
