"""What the items of a data set are: images, videos, or folders with the frames of a video."""

from typing import Literal

from losa.extract.image_formats import image_extensions
from losa.extract.video_formats import VIDEO_EXTENSIONS

Media = Literal["images", "videos", "frames"]
"""``frames``: each item is a folder of images, the frames of a video in the order of their names."""


def file_extensions(media: Media) -> frozenset[str]:
    """Extensions of the files of a data set, in lower case and with their dot."""
    return VIDEO_EXTENSIONS if media == "videos" else image_extensions()
