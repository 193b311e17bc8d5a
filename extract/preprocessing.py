"""The transform from a decoded image to the backbone's input: timm's evaluation transform, and its record."""

from collections.abc import Callable
from typing import Any, cast

from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from losa.cache_format.identity import Preprocessing

Transform = Callable[[Image.Image], Tensor]


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """The preprocessing that the model's own data configuration states for evaluation."""
    config = resolve_model_data_config(model)
    return Preprocessing(
        input_size=tuple(config["input_size"]),
        interpolation=config["interpolation"],
        mean=tuple(float(value) for value in config["mean"]),
        std=tuple(float(value) for value in config["std"]),
        crop_pct=float(config["crop_pct"]),
        crop_mode=config["crop_mode"],
    )


def make_transform(preprocessing: Preprocessing) -> Transform:
    """The evaluation transform of timm with the settings of a record."""
    arguments: dict[str, Any] = {
        "input_size": preprocessing.input_size,
        "interpolation": preprocessing.interpolation,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop_mode,
    }
    return cast(Transform, create_transform(**arguments, is_training=False))
