"""Makes augmented views of photographs: a random crop, perhaps mirrored, of the photograph as it was decoded.

What follows is the same for views and photographs: the backbone's evaluation transform.

The crops are drawn here and not by a library: what is usual there draws sizes until one fits and gives up
after ten, so that all views of a wide photograph would be the same crop from its middle. And a cache has to
be made again byte by byte by later versions.
"""

import hashlib
import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from losa.cache_format import Cache, LosaError, Manifest, SplitContents
from losa.cache_format.manifest import LabelColumn, has_manifest
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.views import View, parse_key, views_split
from losa.extract.sources import ImageSource, SourceImage

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Of the crops, width to height, where they fit: what most training recipes for ImageNet draw from."""


class ViewedSource:
    """A source whose photographs also have views; see `ImageSource`."""

    def __init__(self, source: ImageSource) -> None:
        """Wrap a source of photographs."""
        self._source = source

    @property
    def columns(self) -> tuple[LabelColumn, ...]:
        """See `ImageSource`."""
        return self._source.columns

    @property
    def splits(self) -> tuple[str, ...]:
        """See `ImageSource`."""
        return self._source.splits

    def contents(self, split: str) -> SplitContents:
        """See `ImageSource`.

        Raises:
            LosaError: also if the name of a file reads as that of a view.
        """
        contents = self._source.contents(split)
        for key in contents.keys:
            if parse_key(key)[1] is not None:
                raise LosaError(
                    f"split {split!r}: {key!r} is what losa calls a view of an image; rename the file"
                )
        return contents

    def load(self, key: str) -> SourceImage:
        """See `ImageSource`. The hash of a view is that of its photograph's bytes."""
        photograph, view = parse_key(key)
        image, source_hash = self._source.load(photograph)
        return SourceImage(image if view is None else make_view(image, view, key), source_hash)


def with_views(contents: SplitContents, views: Sequence[View]) -> SplitContents:
    """The split that holds a split's photographs and then all views of them, view after view."""
    of_views = [[view.key(key) for key in contents.keys] for view in views]
    return SplitContents(
        name=views_split(contents.name, 1 + len(views)),
        keys=[*contents.keys, *(key for keys in of_views for key in keys)],
        labels={column: np.tile(labels, 1 + len(views)) for column, labels in contents.labels.items()},
    )


def refuse_other_views(cache: CachePath, splits: Sequence[SplitContents]) -> None:
    """Refuse a split of views that the cache has with views of another kind.

    Raises:
        LosaError: saying how they were made.
    """
    refuse_unreachable(cache)
    if not has_manifest(cache):
        return
    stored = {record.name: record.keys_sha256 for record in Manifest.read(cache).splits}
    for split in splits:
        asked = parse_key(split.keys[-1])[1]
        if asked is None or stored.get(split.name, split.keys_sha256) == split.keys_sha256:
            continue
        found = parse_key(Cache(cache).keys(split.name)[-1])[1]
        if found is not None and found != asked:
            raise LosaError(
                f"{cache}: the views in split {split.name!r} have {_options(found)}, asked for are "
                f"{_options(asked)}: choose another number of views, or another cache=..."
            )


def _options(view: View) -> str:
    return f"view_crop={view.crop:g} view_flip={str(view.flip).lower()}"


def make_view(image: Image.Image, view: View, key: str) -> Image.Image:
    """A view: a function of the photograph and the view's key.

    Args:
        image: the photograph.
        view: how to make it.
        key: of the view, from which the random numbers follow.
    """
    # A hash, not the text itself: what Python makes of a text as a seed is its own affair. And of all that
    # its generators offer, only random() is promised to stay the same.
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    draw = random.Random(seed).random
    area = view.crop + (1 - view.crop) * draw()
    aspect = image.width / image.height
    # Any ratio between these fits; as many of them are wanted as lie in the usual range, or the nearest one.
    fitting = aspect * area, aspect / area
    low, high = (min(max(ratio, fitting[0]), fitting[1]) for ratio in ASPECT_RATIOS)
    ratio = low * (high / low) ** draw()
    width, height = (
        min(size, max(1, round(math.sqrt(area * image.width * image.height * shape))))
        for size, shape in ((image.width, ratio), (image.height, 1 / ratio))
    )
    left, top = (
        math.floor(draw() * (image.width - width + 1)),
        math.floor(draw() * (image.height - height + 1)),
    )
    cropped = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if draw() < 0.5 and view.flip else cropped
