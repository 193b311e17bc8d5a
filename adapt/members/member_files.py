"""The folder of a member: what it was told, how it went, where it stands, what came out."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.members.side_network_file import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import publish

_log = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
SUMMARY_NAME = "summary.json"
CONFUSION_NAME = "confusion.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
CHECKPOINT_VERSION = 1
"""To be raised when names or shapes of what a member's state holds change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A member between two epochs."""

    epoch: int
    """How many epochs are done."""
    progress: dict[str, Any]
    """What the sweep remembers besides."""
    state: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class MemberFiles:
    """Reads and writes one member's folder."""

    folder: Path
    config: AdaptConfig

    def finished(self, origin: Mapping[str, Any]) -> dict[str, Any] | None:
        """The summary of a finished member, if it is this one and was trained from the same data.

        Args:
            origin: of the data, as it stands in a summary.

        Raises:
            LosaError: another finished member is there.
        """
        try:
            summary = json.loads((self.folder / SUMMARY_NAME).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(summary, dict):
            return None
        if summary.get("member") != self.config.member_id:
            raise LosaError(
                f"{self.folder} holds another finished member, {summary.get('name')}; this one is "
                f"{self.config.member_name}: choose another folder (out=... or hydra.run.dir=...), "
                "or overwrite=true"
            )
        if summary.get("cache") != origin:
            _log.warning("%s was trained from another state of the cache; it is trained again", self.folder)
            return None
        _log.info("%s is finished already (overwrite=true trains it again)", self.folder)
        return summary

    def checkpoint(self, origin: Mapping[str, Any]) -> Checkpoint | None:
        """Where the member stood when it was interrupted; None if there is nothing to go on from."""
        path = self.folder / CHECKPOINT_NAME
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            state = load(data)
            metadata = _metadata(data)
            told = json.loads(metadata["losa"])
            damaged = metadata["sha256"] != _digest(metadata["losa"], state)
        except (SafetensorError, KeyError, TypeError, ValueError):
            damaged = True
        if damaged:
            _log.warning("%s is damaged; the member is trained from the start", path)
            return None
        if told["member"] != self.config.member_id:
            return None
        if told.get("version") != CHECKPOINT_VERSION:
            _log.warning("%s is of another version of losa; the member is trained from the start", path)
            return None
        if told["cache"] != dict(origin):
            _log.warning("%s is of another state of the cache; the member is trained from the start", path)
            return None
        return Checkpoint(epoch=told["epoch"], progress=told["progress"], state=state)

    def save_checkpoint(self, checkpoint: Checkpoint, origin: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        state = {name: value.detach().cpu().contiguous() for name, value in checkpoint.state.items()}
        told = {
            "member": self.config.member_id,
            "version": CHECKPOINT_VERSION,
            "cache": dict(origin),
            "epoch": checkpoint.epoch,
            "progress": checkpoint.progress,
        }
        metadata = {"losa": json.dumps(told)}
        metadata["sha256"] = _digest(metadata["losa"], state)
        publish(self.folder / CHECKPOINT_NAME, save(state, metadata))

    def start(self, epoch: int) -> None:
        """Write the configuration, and forget results of an earlier training.

        Args:
            epoch: from which the training goes on; the lines of the metrics before it stay.
        """
        names = [SUMMARY_NAME, CONFUSION_NAME, DESCRIPTION_NAME, TENSORS_NAME]
        if not epoch:
            # Or a later training would go on from it, whose metrics are gone.
            names.append(CHECKPOINT_NAME)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        publish(self.folder / CONFIG_NAME, _json(asdict(self.config)))
        metrics = self.folder / METRICS_NAME
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
        publish(metrics, "".join(lines[:epoch]).encode())

    def add_metrics(self, record: Mapping[str, Any]) -> None:
        """One more line."""
        with (self.folder / METRICS_NAME).open("a", encoding="utf-8") as file:
            print(json.dumps(record), file=file)

    def finish(self, summary: dict[str, Any], confusion: Mapping[str, Any]) -> None:
        """Write the results, the summary last: its presence says that the member is finished."""
        publish(self.folder / CONFUSION_NAME, json.dumps(confusion).encode() + b"\n")
        publish(self.folder / SUMMARY_NAME, _json(summary))
        (self.folder / CHECKPOINT_NAME).unlink(missing_ok=True)


def _metadata(data: bytes) -> dict[str, str]:
    """Of a safetensors file: a length, and so many bytes of JSON."""
    end = 8 + int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8:end])["__metadata__"]
    return found


def _digest(told: str, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(told.encode())
    for name in sorted(state):
        array = state[name].numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
