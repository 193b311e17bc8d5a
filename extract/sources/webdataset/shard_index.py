"""The index of a shard: where its images are, and their labels."""

import re
from collections import Counter
from typing import BinaryIO

from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT
from losa.cache_format.errors import LosaError
from losa.extract.sources.base import composed
from losa.extract.sources.hidden import is_hidden
from losa.extract.sources.webdataset.sample_fields import SampleFields, split_name
from losa.extract.sources.webdataset.tar_walk import TarMember, TarWalk


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ShardIndex:
    """The images of a shard, in its order."""

    names: list[str]
    """Names of the images in the tar, in Unicode form NFC."""
    offsets: list[int]
    """Position of the first byte of each image in the tar."""
    sizes: list[int]
    """Size of each image in bytes."""
    texts: dict[str, list[str | None]]
    """Label field -> for each image a number or a name of a class; None if the image has no label there."""
    left_out: dict[str, int]
    """What is left out -> how many of it."""
    fields: list[str]
    """All fields of all samples, the most frequent first, for messages."""


def index_shard(file: BinaryIO, place: str, fields: SampleFields) -> ShardIndex:
    """Index a shard by its headers and by the members that hold labels.

    Unlike webdataset, which reads a shard as a stream, this finds the members of a sample wherever they are.

    Args:
        file: the tar, from its first byte. It has to be seekable.
        place: its path or URL, for messages.
        fields: the fields that are used.

    Raises:
        LosaError: the tar is damaged, holds a file twice, or a label or the choice of an image is unclear.
    """
    images: dict[str, dict[str, TarMember]] = {}
    texts: dict[str, dict[str, str | None]] = {}
    seen: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    walk = TarWalk(file, place, lambda name: split_name(name)[1] in fields.label_members)
    for member in walk:
        name = composed(_text(member.name, place))
        if is_hidden(name) or _is_about_the_shard(name):
            left_out["hidden files"] += 1
            continue
        key, field = split_name(name)
        if key is None:
            left_out["files without an extension"] += 1
            continue
        seen[field] += 1
        sample = images.setdefault(key, {})
        if fields.is_image(field):
            if field in sample:
                raise _twice(place, name)
            sample[field] = member._replace(name=name)
        if member.content is not None:
            try:
                found = fields.texts(field, member.content)
            except LosaError as error:
                raise LosaError(f"{place}: {name!r} {error}") from None
            if not found.keys().isdisjoint(texts.setdefault(key, {})):
                raise _twice(place, name)
            texts[key] |= found
    left_out["links that lead to no file in the tar"] += len(walk.dangling)
    left_out["samples without an image"] += sum(not sample for sample in images.values())
    try:
        chosen = {key: one[fields.choose_image(key, list(one))] for key, one in images.items() if one}
    except LosaError as error:
        raise LosaError(f"{place}: {error}") from None
    return ShardIndex(
        names=[image.name for image in chosen.values()],
        offsets=[image.offset for image in chosen.values()],
        sizes=[image.size for image in chosen.values()],
        texts={label: [texts.get(key, {}).get(label) for key in chosen] for label in fields.labels},
        left_out={what: number for what, number in left_out.items() if number},
        fields=[field for field, _ in seen.most_common()],
    )


def _is_about_the_shard(name: str) -> bool:
    """Whether webdataset leaves a member out as one that describes the shard, not a sample."""
    return re.match(r"__[^/]*__(/|$)", name) is not None


def _text(name: str, place: str) -> str:
    # tarfile represents bytes that are not UTF-8 by lone surrogates, which no text has.
    if not name.isascii() and name.encode("utf-8", "replace").decode() != name:
        raise LosaError(f"{place}: the file name {name!r} is not UTF-8: pack the tar with UTF-8 names")
    return name


def _twice(place: str, name: str) -> LosaError:
    return LosaError(
        f"{place} holds {name!r} twice, or in two spellings (capitals, Unicode) that are one: pack the tar "
        "again"
    )
