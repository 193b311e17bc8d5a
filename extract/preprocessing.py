"""From an image to the backbone's input: timm's evaluation transform, its record and its options."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import ImageDecoding, Preprocessing
from losa.extract.causes import short_cause
from losa.extract.config import MAX_PIXELS, ExtractConfig
from losa.extract.sources.base import InvalidImage

Transform = Callable[[Image.Image], Tensor]

CROP_MODES = {"crop": "center", "squash": "squash", "pad": "border"}
"""``resize=`` -> timm's name for it."""


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """The preprocessing that the model's own data configuration states for evaluation.

    Raises:
        LosaError: it states none.
    """
    try:
        config = resolve_model_data_config(model)
        return Preprocessing(
            input_size=tuple(config["input_size"]),
            interpolation=config["interpolation"],
            mean=tuple(float(value) for value in config["mean"]),
            std=tuple(float(value) for value in config["std"]),
            crop_pct=float(config["crop_pct"]),
            crop_mode=config["crop_mode"],
        )
    except (LookupError, TypeError, ValueError, OverflowError) as error:  # of a file that anyone may write
        raise LosaError(
            "its configuration (pretrained_cfg) does not say how images are prepared; expected input_size, "
            f"interpolation, mean, std, crop_pct and crop_mode: {short_cause(error)}"
        ) from error


def choose_preprocessing(own: Preprocessing, config: ExtractConfig) -> Preprocessing:
    """The preprocessing of an extraction: the backbone's own, changed where the options say so.

    Raises:
        LosaError: mean or std have another number of values than the input has channels.
    """
    changes: dict[str, Any] = {}
    if config.resize is not None and CROP_MODES[config.resize] != own.crop_mode:
        changes |= {"crop_mode": CROP_MODES[config.resize]}
        # The fraction that a model states belongs to its own way of resizing.
        changes |= {"crop_pct": 1.0} if config.resize != "crop" else {}
    if config.crop_pct is not None:
        changes["crop_pct"] = float(config.crop_pct)
    if config.interpolation is not None:
        changes["interpolation"] = config.interpolation
    channels = own.input_size[0]
    for name, values in (("mean", config.mean), ("std", config.std)):
        if values is not None:
            each = [values] * channels if isinstance(values, int | float) else values
            if len(each) != channels:
                raise LosaError(f"{name}={values}: expected one number, or {channels}, one for every channel")
            changes[name] = tuple(float(value) for value in each)
    red, green, blue = config.background
    changes["decoding"] = ImageDecoding(exif=config.exif, background=(red, green, blue))
    changes["sampling"] = config.sampling
    return replace(own, **changes)


@dataclass(frozen=True, slots=True)
class BoundedTransform:
    """A transform that refuses images which cannot be resized within the limits of memory.

    A centre crop scales the shorter side to the input size: an image of 1 x 20,000 pixels would have 1.2
    billion of them before it is cropped. Padding scales the longer side, and would leave none of its width.
    """

    transform: Transform
    preprocessing: Preprocessing
    max_pixels: int

    def __call__(self, image: Image.Image) -> Tensor:
        """Transform an image.

        Raises:
            InvalidImage: the resized image would have more than ``max_pixels`` pixels, or none.
        """
        if self.preprocessing.crop_mode != "squash":
            wide, high = self._resized(image)
            if wide * high > self.max_pixels or min(wide, high) == 0:
                raise InvalidImage(
                    f"{image.width:,} x {image.height:,} pixels would be resized to {wide:,} x {high:,}: "
                    f"expected 1 to max_pixels={self.max_pixels}; resize=squash takes such images"
                )
        return self.transform(image)

    def _resized(self, image: Image.Image) -> tuple[int, int]:
        """Width and height of the resized image, before it is cropped or padded."""
        _, height, width = self.preprocessing.input_size
        ratios = height / image.height, width / image.width
        pad = self.preprocessing.crop_mode == "border"
        scale = (min(ratios) if pad else max(ratios)) / self.preprocessing.crop_pct
        return round(image.width * scale), round(image.height * scale)


def make_transform(
    preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS, *, normalised: bool = True
) -> Transform:
    """The evaluation transform of timm with the settings of a record, for images in RGB.

    Args:
        preprocessing: the record.
        max_pixels: most pixels of an image once it is resized.
        normalised: whether it ends with float32 values, from which the mean is subtracted and which are
            divided by the standard deviation; otherwise it ends with the pixels, in uint8.
    """
    arguments: dict[str, Any] = {
        "input_size": preprocessing.input_size,
        "interpolation": preprocessing.interpolation,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop_mode,
    }
    transform = cast(
        Transform, create_transform(**arguments, is_training=False, use_prefetcher=not normalised)
    )
    return BoundedTransform(transform, preprocessing, max_pixels)
