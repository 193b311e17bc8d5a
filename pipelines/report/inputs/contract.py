"""What a page tells of: trained members, whatever measured them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A training, or one that failed. What was not recorded is None."""

    task: str
    """What is learnt, such as the name of the data set. Only members of one task are compared."""
    kind: str
    """The side network or the method."""
    options: Mapping[str, str]
    """Other options, as text. Members that agree in kind and options are one configuration."""
    seeds: tuple[str, ...] = ()
    """What tells it from other members of its configuration."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Split -> fraction; those that decide first."""
    status: Literal["finished", "pruned", "failed"] = "finished"
    reason: str = ""
    """Why it failed, in one line."""
    parameters: int | None = None
    """Number of trained parameters, head included."""
    seconds: float | None = None
    """Its training; the share of one that was trained with others."""
    peak_bytes: int | None = None
    """The most memory in use while it was trained, with the others of its pass."""
    rank: int | None = None
    sites: int | None = None
    """Number of sites that it reads."""
    folder: Path | None = None
    """Where its files are, if they were found."""


class Reader(Protocol):
    """Reads one kind of results."""

    def __call__(self, folder: Path) -> Sequence[Member] | None:
        """The members of a folder; None if it holds no results of this kind.

        Raises:
            LosaError: it does, but they cannot be read; the message names the file.
        """
