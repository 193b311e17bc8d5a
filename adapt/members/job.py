"""A member to train, and where."""

from dataclasses import dataclass
from pathlib import Path

from losa.adapt.config import AdaptConfig


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A member to train, and the folder it is written to.

    Jobs are equal if they have the same member and the same folder. Idle options make no difference: two
    linear probes that differ in their ranks are one member.
    """

    config: AdaptConfig
    folder: Path

    def __eq__(self, other: object) -> bool:
        """Compare members and folders."""
        return isinstance(other, Job) and self._key == other._key

    def __hash__(self) -> int:
        """Hash of member and folder."""
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, Path]:
        return self.config.member_id, self.folder
