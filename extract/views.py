"""Makes augmented views: random crops of the decoded image, mirrored with probability 1/2.

Views and images then go through the same transform, the backbone's evaluation transform.

The crops are drawn here and not by a library for two reasons. Libraries draw sizes until one fits and give up
after ten attempts, so that all views of a wide image would be the same crop from its centre. And later
versions must reproduce a cache byte by byte.
"""

import hashlib
import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from losa.cache_format import Cache, LosaError, Manifest, SplitContents
from losa.cache_format.clips import source_key
from losa.cache_format.manifest import has_manifest
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.views import View, parse_key, views_split

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width-to-height ratio of crops, where they fit; usual in recipes for ImageNet."""


def refuse_keys_of_views(contents: SplitContents) -> None:
    """Refuse names of files that have the form of the key of a view or a clip.

    Raises:
        LosaError: there is one; the message names it.
    """
    for key in contents.keys:
        if source_key(key) != key:
            kind = "clip" if parse_key(key)[1] is None else "view"
            raise LosaError(
                f"split {contents.name!r}: {key!r} has the form of a {kind}'s key; rename the file"
            )


def with_views(contents: SplitContents, views: Sequence[View]) -> SplitContents:
    """The split of all images of a split, followed by their views, view after view."""
    of_views = [[view.key(key) for key in contents.keys] for view in views]
    return SplitContents(
        name=views_split(contents.name, 1 + len(views)),
        keys=[*contents.keys, *(key for keys in of_views for key in keys)],
        labels={column: np.tile(labels, 1 + len(views)) for column, labels in contents.labels.items()},
        rule=contents.rule,
    )


def refuse_other_views(cache: CachePath, splits: Sequence[SplitContents]) -> None:
    """Refuse a split of views that the cache holds with other views.

    Raises:
        LosaError: the views of a split were made with other options; the message has both.
    """
    refuse_unreachable(cache)
    if not has_manifest(cache):
        return
    stored = {record.name: record.keys_sha256 for record in Manifest.read(cache).splits}
    for split in splits:
        requested = parse_key(split.keys[-1])[1]
        if requested is None or stored.get(split.name, split.keys_sha256) == split.keys_sha256:
            continue
        found = parse_key(Cache(cache).keys(split.name)[-1])[1]
        if found is not None and found != requested:
            raise LosaError(
                f"{cache}: the views in split {split.name!r} have {_options(found)}, requested are "
                f"{_options(requested)}: choose another number of views, or another cache=..."
            )


def _options(view: View) -> str:
    return f"view_crop={view.crop:g} view_flip={str(view.flip).lower()}"


def make_view(image: Image.Image, view: View, key: str) -> Image.Image:
    """Make a view, which is a function of the image and the view's key.

    Args:
        image: the decoded image.
        view: the options of the view.
        key: key of the view; it seeds the random numbers.
    """
    # A hash, because Python does not specify how it seeds from text; and only random(), because it is the one
    # method of the generator whose results are promised to stay the same.
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    draw = random.Random(seed).random
    area = view.crop + (1 - view.crop) * draw()
    aspect = image.width / image.height
    # Ratios between these two fit. Draw from those that are also in the usual range, or take the nearest.
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
