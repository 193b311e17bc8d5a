"""The small grid from which a study chooses."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any


def grid_values() -> Mapping[str, Sequence[Any]]:
    """Option of `AdaptConfig` -> the values to choose from."""
    return {"lr": (1e-3, 3e-3, 1e-2), "weight_decay": (1e-4, 0.05)}


def grid_points() -> list[dict[str, Any]]:
    """All combinations of the values, as overrides of a configuration."""
    values = grid_values()
    return [dict(zip(values, point, strict=True)) for point in product(*values.values())]
