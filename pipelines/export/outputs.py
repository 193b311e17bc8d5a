"""The outputs of an exported model: what each is called, and whose class scores it has."""

from dataclasses import dataclass

from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import LabelColumn

INPUT = "images"
"""Name of the input."""


@dataclass(frozen=True, slots=True)
class Output:
    """Class scores ``(images, classes)`` in float32 of one side network in one label column."""

    name: str
    side_network: str
    members: tuple[str, ...]
    """The side networks whose mean it is; one, if it is no ensemble."""
    column: LabelColumn


def outputs_of(networks: StackedSideNetworks) -> tuple[Output, ...]:
    """The outputs, in the order in which the side networks and their label columns are.

    Outputs of one side network are named by their label columns, and those of several by
    ``<side network>/<label column>``. So is a label column that would have the name of the input.
    """
    several = len(networks) > 1
    return tuple(
        Output(
            f"{name}/{column.name}" if several or column.name == INPUT else column.name,
            name,
            members,
            column,
        )
        for name, members, columns in zip(networks.names, networks.members, networks.columns, strict=True)
        for column in columns
    )
