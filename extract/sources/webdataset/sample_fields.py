"""Which members of a shard are images and labels: names are ``<key of the sample>.<field>``."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from webdataset.tariterators import base_plus_ext

from losa.cache_format.errors import LosaError
from losa.extract.media import Media, file_extensions

USUAL_LABELS = ("cls", "json.label")
"""Where labels are looked for if nothing is told."""
_IN_JSON = re.compile(r"((?:.+?\.)?json)\.(.+)")


def split_name(name: str) -> tuple[str | None, str]:
    """Key and field of a member, as webdataset splits them: at the first dot of the file's own name.

    A name without a dot, or one that begins with it, has no key.

    >>> split_name("cats/01.seg.PNG"), split_name("a.b/README")
    (('cats/01', 'seg.png'), (None, ''))
    """
    if name.rpartition("/")[2].startswith("."):
        return None, ""
    key, field = base_plus_ext(name)
    return key, (field or "").lower()


@dataclass(frozen=True)
class SampleFields:
    """The fields that are used."""

    image: str | None
    """Field of the images, or alternatives with semicolons; None: the only image of each sample."""
    labels: tuple[str, ...]
    """Fields of labels: ``cls`` is a member, ``json.species`` an entry of the member ``json``."""
    media: Media = "images"
    """What the images are: images or videos."""

    @cached_property
    def label_members(self) -> Mapping[str, Sequence[str]]:
        """Field of a member -> the label fields that it holds."""
        members: dict[str, list[str]] = {}
        for label in self.labels:
            inside = _IN_JSON.fullmatch(label)
            members.setdefault((inside[1] if inside else label).lower(), []).append(label)
        return members

    def is_image(self, field: str) -> bool:
        """Whether a member with a field is an image that may be chosen."""
        if self.image is not None:
            return field in self._alternatives
        return f".{field.rpartition('.')[2]}" in file_extensions(self.media)

    def choose_image(self, key: str, found: Sequence[str]) -> str:
        """The field of the image of a sample.

        Raises:
            LosaError: there are several, and none is told.
        """
        if self.image is None and len(found) > 1:
            raise LosaError(
                f"sample {key!r} has several images: {', '.join(found)}. Which one is to be extracted? "
                f"dataset.image_field={found[0]}. (The key of a sample is what precedes the first dot of a "
                "file's name: images with more dots have to be renamed)"
            )
        return min(found, key=self._alternatives.index) if self.image is not None else found[0]

    @cached_property
    def _alternatives(self) -> list[str]:
        return [field.strip().lower() for field in (self.image or "").split(";")]

    def texts(self, field: str, content: bytes) -> dict[str, str | None]:
        """What a member says for each label field in it; None for an image without this label.

        Raises:
            LosaError: it is no text, or it has no single number or name as a label.
        """
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise LosaError("is no UTF-8 text, so it cannot be a label") from None
        return {label: _text(text, label) for label in self.label_members[field]}


def _text(text: str, label: str) -> str | None:
    inside = _IN_JSON.fullmatch(label)
    if inside is None:
        return text.strip() or None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LosaError(f"is no JSON ({error})") from None
    for name in inside[2].split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise LosaError(f"expected a number from 0 or a name as {inside[2]}, found {str(value)[:80]}")
