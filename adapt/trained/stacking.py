"""The one way to put trained side networks side by side, as they are or as an ensemble."""

from collections.abc import Mapping

from losa.adapt.trained.ensemble import Ensemble
from losa.adapt.trained.side_network import TrainedSideNetwork
from losa.adapt.trained.stacked import StackedSideNetworks


def stack_side_networks(
    trained: Mapping[str, TrainedSideNetwork], *, ensemble: bool = False
) -> StackedSideNetworks:
    """Put side networks side by side: one pass over the features of an image gives the scores of all of them.

    Args:
        trained: name -> side network, as `load_side_network` returns it.
        ensemble: whether their average takes their place, see `Ensemble`.

    Returns:
        The networks, on the device of those given, whose parameters are copied and need no gradients.

    Raises:
        LosaError: there is none, they were trained on different backbones or inputs, or they are no ensemble.
    """
    return Ensemble(trained) if ensemble else StackedSideNetworks(trained)
