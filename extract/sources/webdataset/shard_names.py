"""Names of shards: patterns with braces, or whatever tars are in the root."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from webdataset.shardlists import expand_urls

from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.remote import sizes_below
from losa.extract.sources.files import USUAL_SPLITS, WHOLE, usual_order
from losa.extract.sources.hidden import is_hidden
from losa.extract.sources.notes import shortened

Patterns = str | Sequence[str]
_SPLIT = re.compile(rf"(?:^|[-_./])({'|'.join(USUAL_SPLITS)})(?=[-_./])", re.IGNORECASE)
"""A usual name of a split, between separators, in the name of a tar."""


def name_shards(
    root: CachePath, patterns: Patterns | Mapping[str, Patterns] | None
) -> dict[str, tuple[str, ...]]:
    """The shards of each split, as paths relative to the root.

    Args:
        root: folder or URL in which all shards are.
        patterns: patterns of one split, or split -> its patterns, with braces as webdataset expands them
            (``train-{0000..0019}.tar``) or stars; None: all tars in the root and its folders, in splits by
            the usual names of splits in their paths, or in one split ``all`` if none has any.

    Raises:
        LosaError: a pattern is wrong or matches nothing, or splits cannot be told from the names of tars.
    """
    if patterns is None:
        return _by_names(root, _tars(root))
    if isinstance(patterns, str) or not isinstance(patterns, Mapping):
        patterns = {WHOLE: patterns}
    return {
        split: tuple(_expanded(root, split, [one] if isinstance(one, str) else one))
        for split, one in patterns.items()
    }


def _expanded(root: CachePath, split: str, patterns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for pattern in patterns:
        _refuse_outside(pattern)
        try:
            expanded = expand_urls(pattern)
        except ValueError as error:  # braces that do not match
            raise LosaError(f"dataset.shards: {pattern!r}: {error}") from None
        for name in expanded:
            names.extend(_matching(root, name) if "*" in name else [_normalised(name)])
    for name in names:
        if not name.lower().endswith(".tar"):
            raise LosaError(
                f"dataset.shards: expected files ending in .tar, found {name!r}. Compressed shards (.tar.gz, "
                ".tgz, ...) have to be decompressed: no image in them can be read without all before it"
            )
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise LosaError(f"dataset.shards: split {split!r} names {shortened(repeated)} twice")
    return names


def _refuse_outside(pattern: str) -> None:
    if pattern.startswith("pipe:"):
        raise LosaError(
            f"dataset.shards: {pattern!r}: nothing can be read at an offset from the output of a command. "
            "Name the storage itself (dataset.root=s3://..., https://...), or download the shards"
        )
    if "://" in pattern or pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise LosaError(
            f"dataset.shards: {pattern!r}: patterns are relative to dataset.root and stay below it. Let "
            "dataset.root be the folder or URL that holds all shards"
        )


def _normalised(name: str) -> str:
    return re.sub(r"(^|/)(\./|/)+", r"\1", name)


def _matching(root: CachePath, pattern: str) -> list[str]:
    names = [name for name in _tars(root) if fnmatchcase(name, _normalised(pattern))]
    if not names:
        raise LosaError(f"dataset.shards: no tar in {root} matches {pattern!r}")
    return names


def _tars(root: CachePath) -> list[str]:
    try:
        if isinstance(root, Path):
            names: Iterable[str] = (file.relative_to(root).as_posix() for file in root.rglob("*"))
        else:
            names = sizes_below(root)
    except Exception as error:  # file systems raise errors of their own types
        raise LosaError(f"dataset.root={root} cannot be listed: {type(error).__name__}: {error}") from error
    return sorted(name for name in names if name.lower().endswith(".tar") and not is_hidden(name))


def _by_names(root: CachePath, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if not names:
        raise LosaError(
            f"{root} holds no .tar files. Where a server does not list its files, name them: "
            "'dataset.shards=\"train-{0000..0019}.tar\"'"
        )
    splits: dict[str, list[str]] = {}
    without = []
    for name in names:
        found = dict.fromkeys(match.lower() for match in _SPLIT.findall(name))
        if len(found) > 1:
            raise LosaError(
                f"{root}/{name} has the names of several splits in it, {', '.join(found)}: say which shards "
                "belong to which split: dataset.shards={train:...,test:...}"
            )
        if found:
            splits.setdefault(next(iter(found)), []).append(name)
        else:
            without.append(name)
    if not splits:
        return {WHOLE: tuple(without)}
    if without:
        raise LosaError(
            f"{root} has shards of {', '.join(usual_order(splits))}, and others that would be left out: "
            f"{shortened(without)}. Say which shards belong to which split: "
            "dataset.shards={train:...,test:...}"
        )
    return {split: tuple(splits[split]) for split in usual_order(splits)}
