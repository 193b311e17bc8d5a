"""Loads the images of a source in RGB, augmented views among them."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from losa.cache_format.identity import ImageDecoding
from losa.cache_format.views import parse_key
from losa.extract.config import MAX_PIXELS
from losa.extract.pixels import decode_image
from losa.extract.preprocessing import Transform
from losa.extract.sources.base import StoredFrames, StoredImages, failing_not_now, hash_source
from losa.extract.views import make_view


class LoadedImage(NamedTuple):
    """An image in RGB, and what a user should hear of it."""

    image: Image.Image
    source_hash: bytes
    """Hash of what the source holds; see `losa.extract.sources.base.hash_source`."""
    turned: bool = False
    """Whether its EXIF data have an orientation other than upright, applied or not."""
    warnings: tuple[str, ...] = ()

    def prepared(self, transform: Transform) -> Shaped[Tensor, "channels height columns"]:
        """The network input."""
        return transform(self.image)


@dataclass(frozen=True, slots=True)
class ImageLoader:
    """Loads images by their keys. It can be pickled, because each decoding process has its own copy."""

    source: StoredImages
    decoding: ImageDecoding | None
    """Rules of decoding; None are those of caches without a record of them."""
    max_pixels: int = MAX_PIXELS
    views: bool = True
    """Whether keys in the form of `losa.cache_format.views` are those of views; paths of files never are."""

    def load(self, key: str) -> LoadedImage:
        """Load an image, or make a view of it, which has the hash of its image.

        Raises:
            InvalidImage: the image cannot be decoded, for a reason that is a property of the image.
            LosaError: the image cannot be read or decoded at the moment, for a reason that may pass.
        """
        image_key, view = parse_key(key) if self.views else (key, None)
        stored = self.source.read(image_key)
        assert not isinstance(stored, StoredFrames), "videos are loaded by ClipLoader"
        with failing_not_now(image_key):
            image, turned, warnings = decode_image(stored, self.decoding, self.max_pixels)
        if view is not None:
            image = make_view(image, view, key)
        return LoadedImage(image, hash_source(stored), turned, warnings)
