"""The image formats that are decoded, and the names of their files."""

from functools import cache

from PIL import Image

_NOT_DECODED = frozenset({"EPS", "BUFR", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
"""Formats that Pillow recognises but does not decode itself; for EPS it starts Ghostscript on the data."""


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats, those of plugins among them."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_DECODED)


@cache
def image_extensions() -> frozenset[str]:
    """Extensions of the files of these formats, in lower case and with their dot."""
    formats = image_formats()
    return frozenset(
        extension for extension, name in Image.registered_extensions().items() if name in formats
    )
