"""Files by which a command that is run again finds the run that it began."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losa.adapt.config import TrackerName
from losa.cache_format.storage.atomic_writes import publish

FOLDER = "tracked"


@dataclass(frozen=True, slots=True)
class RunName:
    """The name of a sweep's run, in a file for each command in ``tracked/`` in the sweep's folder."""

    sweep_folder: Path
    tracker: TrackerName
    options: Sequence[str]
    """The options by which the command is recognised."""

    @property
    def path(self) -> Path:
        """Path of the file, which need not exist."""
        digest = hashlib.sha256("\n".join(self.options).encode()).hexdigest()[:10]
        return self.sweep_folder / FOLDER / f"{self.tracker}-{digest}.txt"

    def read(self) -> str | None:
        """The name that was written; None if there is none."""
        try:
            return self.path.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def write(self, name: str) -> None:
        """Write the name down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        publish(self.path, f"{name}\n".encode())
