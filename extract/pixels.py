"""Turns what a source holds, an encoded image or pixels, into 8-bit RGB. The rules are on docs/images.md."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from losa.cache_format.identity import ImageDecoding
from losa.extract.image_formats import image_formats
from losa.extract.sources.base import InvalidImage, StoredImage

DEFAULT_DECODING = ImageDecoding(exif="apply", background=(255, 255, 255))
"""The rules, unless options say otherwise."""

_UPRIGHT = 1
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_SIXTEEN_BITS_AS_I = ("PNG", "PPM")
"""Formats without 32-bit pixels, of which Pillow opens 16-bit ones in mode I."""
_CONVERTED = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


class DecodedImage(NamedTuple):
    """An image in RGB, and what a user should hear of it."""

    image: Image.Image
    turned: bool
    """Whether its EXIF data have an orientation other than upright, applied or not."""
    warnings: tuple[str, ...]
    """Pillow's warnings, such as those of damaged metadata."""


def decode_image(stored: StoredImage, decoding: ImageDecoding | None, max_pixels: int) -> DecodedImage:
    """Decode an image to RGB.

    Args:
        stored: an encoded image, or pixels.
        decoding: the rules; None are those of caches without a record of them: Pillow's conversion to RGB,
            which clips deep pixels, shows what is transparent, and ignores EXIF.
        max_pixels: most pixels of an image.

    Raises:
        InvalidImage: the image is damaged, too large or in an unsupported format. Another attempt would
            fail, too.
        OSError, MemoryError: the machine could not decode it at the moment.
    """
    with warnings.catch_warnings(record=True) as heard, _no_limit_of_pillows():
        warnings.simplefilter("always")
        try:
            image = (
                stored
                if isinstance(stored, Image.Image)
                else Image.open(io.BytesIO(stored), formats=image_formats())
            )
            _refuse_too_large(image, max_pixels)
            image.load()  # before EXIF data are read: of damaged pixels Pillow complains only once
            image, turned = (image, False) if decoding is None else _upright(image, decoding)
            rgb = image.convert("RGB") if decoding is None else _to_rgb(image, decoding)
        except UnidentifiedImageError:
            raise InvalidImage("not an image in a format that Pillow knows") from None
        except (InvalidImage, MemoryError):
            raise
        except OSError as error:
            # Errors of the system have a number; Pillow's, such as those of truncated data, have none.
            if error.errno is not None:
                raise
            if "out of memory" in str(error):
                raise MemoryError from None
            raise InvalidImage(str(error)) from None
        # Pillow's decoders raise errors of many types on damaged files, such as SyntaxError and struct.error.
        except Exception as error:
            raise InvalidImage(f"{type(error).__name__}: {error}") from None
    return DecodedImage(rgb, turned, tuple(dict.fromkeys(str(warning.message) for warning in heard)))


@contextmanager
def _no_limit_of_pillows() -> Iterator[None]:
    """Lift Pillow's own limit, which is one for the whole process and could not be raised by an option."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _refuse_too_large(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise InvalidImage(f"{image.width:,} x {image.height:,} pixels are more than max_pixels={max_pixels}")


def _upright(image: Image.Image, decoding: ImageDecoding) -> tuple[Image.Image, bool]:
    """The image as ``exif`` requests it, and whether it was not upright. Pillow itself turns TIFF files."""
    try:
        turned = image.getexif().get(Base.Orientation, _UPRIGHT) in range(2, 9)
    except Exception as error:  # as for damaged images; without these data the image is still one
        warnings.warn(f"EXIF data cannot be read ({type(error).__name__}: {error})", stacklevel=1)
        return image, False
    if turned and decoding.exif == "apply":
        image = ImageOps.exif_transpose(image)
    return image, turned


def _to_rgb(image: Image.Image, decoding: ImageDecoding) -> Image.Image:
    deep = image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in _SIXTEEN_BITS_AS_I)
    if deep:
        return _sixteen_bits_to_rgb(image, decoding)
    if image.mode in _TRANSPARENT or (image.mode in _CONVERTED and "transparency" in image.info):
        background = Image.new("RGBA", image.size, (*decoding.background, 255))
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    if image.mode in _CONVERTED:
        return image.convert("RGB")
    raise InvalidImage(
        f"pixels of mode {image.mode!r} have no agreed conversion to 8-bit RGB: save the image with 8 or 16 "
        "bits per channel"
    )


def _sixteen_bits_to_rgb(image: Image.Image, decoding: ImageDecoding) -> Image.Image:
    """Scale grey values from 0 to 65,535 to 8 bits, so that white stays white."""
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = decoding.background
    return Image.fromarray(pixels)
