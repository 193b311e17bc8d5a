"""Errors meant for people: expected, found, where, what to do next."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class LosaError(Exception):
    """Base of every error that a user can cause and correct. Its text is the whole message."""


class CacheError(LosaError):
    """A cache cannot be opened, read or written."""


class CorruptCache(CacheError):  # noqa: N818 -- reads as a sentence: "raise CorruptCache"
    """Bytes on disk differ from those that were written."""


class IncompleteCache(CacheError):  # noqa: N818
    """Shards of a split are missing; extraction was interrupted and can be resumed."""


class CacheInUse(CacheError):  # noqa: N818
    """Another process is writing to this cache."""


class NonFiniteActivations(LosaError):  # noqa: N818
    """NaN or infinity in the activations, or values that the codec turns into infinity."""


class Difference(NamedTuple):
    """One field in which two identities differ."""

    field: str
    expected: object
    found: object


class IdentityMismatch(CacheError):  # noqa: N818
    """The cache was made from other features, images or settings than those requested.

    Attributes:
        path: folder of the cache.
        differences: each field in which it differs, with what was expected and what was found.
        advice: what to do about it.
    """

    def __init__(self, path: object, differences: Sequence[Difference], advice: str) -> None:
        """Make the message, with a line for each difference.

        Args:
            path: folder of the cache.
            differences: the differences, at least one.
            advice: last line of the message: what to do about it.
        """
        self.path = path
        self.advice = advice
        self.differences = tuple(differences)
        width = max(len(d.field) for d in differences)
        lines = [f"  {d.field:<{width}}  expected {d.expected!r}, found {d.found!r}" for d in differences]
        super().__init__("\n".join([f"{path} is a cache of something else:", *lines, advice]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, not the text that is made of them: errors come from other processes, too."""
        return type(self), (self.path, self.differences, self.advice)
