"""The small grid from which a study chooses: that of ``losa-adapt search=small``."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


def grid_values() -> Mapping[str, Sequence[Any]]:
    """Option of `AdaptConfig` -> the values to choose from."""
    preset = OmegaConf.create(files("losa.conf").joinpath("search/small.yaml").read_text(encoding="utf-8"))
    parser = OverridesParser.create()
    return {
        name: parser.parse_override(f"{name}={values}").value().list  # type: ignore[union-attr]
        for name, values in preset.hydra.sweeper.params.items()
    }


def grid_points() -> list[dict[str, Any]]:
    """All combinations of the values, as overrides of a configuration."""
    values = grid_values()
    return [dict(zip(values, point, strict=True)) for point in product(*values.values())]
