"""Full fine-tuning of a live backbone: all of its parameters are trained."""

from torch import nn

from losa.pipelines.bench.live.head import add_head


def train_all(backbone: nn.Module, *, num_classes: int, seed: int) -> nn.Module:
    """Return a timm vision transformer all of whose parameters are trained, with a new head.

    Args:
        backbone: a vision transformer, changed in place.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: the backbone is one that `add_head` refuses.
    """
    return add_head(backbone, num_classes=num_classes, seed=seed).requires_grad_(True)
