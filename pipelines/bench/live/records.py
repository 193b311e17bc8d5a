"""Finished trainings in a folder, by which a comparison that was killed goes on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losa.cache_format import CorruptCache, LosaError
from losa.cache_format.storage.atomic_writes import make_folder, publish
from losa.cache_format.storage.sealed_json import canonical, seal, unseal


@dataclass(frozen=True, slots=True)
class TrainingRecords:
    """Sealed JSON files, one for each finished training."""

    folder: Path

    def find(self, label: str, determining: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result of a training; None if it has not been finished.

        Args:
            label: what its file's name tells of it.
            determining: everything that determines the result.

        Raises:
            LosaError: its file is damaged.
        """
        path = self._path(label, determining)
        if not path.exists():
            return None
        try:
            result: dict[str, Any] = unseal(path.read_bytes(), path)["result"]
        except CorruptCache as error:
            raise LosaError(f"{error}. Remove the file, and the training is done again") from None
        return result

    def keep(self, label: str, determining: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Write the file of a finished training, whole or not at all. Arguments are those of `find`."""
        make_folder(self.folder)
        publish(
            self._path(label, determining),
            seal({"training": dict(determining), "result": dict(result)}),
        )

    def _path(self, label: str, determining: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(canonical(dict(determining))).hexdigest()[:16]
        return self.folder / f"{label}-{digest}.json"
