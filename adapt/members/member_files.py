"""The folder of a member: its configuration, metrics, checkpoint and results."""

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
from losa.adapt.members.summary import MemberSummary
from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import publish

_log = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
SUMMARY_NAME = "summary.json"
CONFUSION_NAME = "confusion.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
CHECKPOINT_VERSION = 1
"""To be raised when names or shapes in a member's state change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A member between two epochs."""

    epoch: int
    """Number of epochs done."""
    progress: dict[str, Any]
    """JSON values: scores, and whether the member was stopped."""
    state: dict[str, Tensor]
    """Parameters and optimiser state, by name."""


@dataclass(frozen=True, slots=True)
class MemberFiles:
    """Reads and writes one member's folder."""

    folder: Path
    config: AdaptConfig
    company: tuple[str, ...] = ()
    """Ids of the members that successive halving compares, this one included; empty without ``halve_at``."""

    def read_finished(self, origin: Mapping[str, Any]) -> MemberSummary | None:
        """The summary if this member is finished and was trained from the same data, in whatever company.

        A file that is not a summary counts as missing.

        Args:
            origin: identity of the data, as in `MemberSummary.cache`.

        Raises:
            LosaError: the folder holds another finished member.
        """
        path = self.folder / SUMMARY_NAME
        try:
            content = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(content, dict):
            return None
        if content.get("member") != self.config.member_id:
            raise LosaError(
                f"{self.folder} holds another finished member, {content.get('name')}; this one is "
                f"{self.config.member_name}: choose another folder (out=... or hydra.run.dir=...), "
                "or overwrite=true"
            )
        if content.get("cache") != origin:
            _log.warning("%s was trained from another state of the cache; it is trained again", self.folder)
            return None
        try:
            return MemberSummary.from_json(content)
        except ValueError:
            _log.warning("%s is damaged; the member is trained again", path)
            return None

    def read_checkpoint(self, origin: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint of an interrupted training; None if there is none to resume from.

        Args:
            origin: identity of the data.
        """
        path = self.folder / CHECKPOINT_NAME
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            state = load(data)
            metadata = _metadata(data)
            record = json.loads(metadata["losa"])
            damaged = metadata["sha256"] != _digest(metadata["losa"], state)
        except (SafetensorError, KeyError, TypeError, ValueError):
            damaged = True
        if damaged:
            _log.warning("%s is damaged; the member is trained from the start", path)
            return None
        if record["member"] != self.config.member_id:
            return None
        if record.get("version") != CHECKPOINT_VERSION:
            _log.warning("%s is of another version of losa; the member is trained from the start", path)
            return None
        if record["cache"] != dict(origin):
            _log.warning("%s is of another state of the cache; the member is trained from the start", path)
            return None
        if record.get("company", []) != list(self.company):
            _log.warning("%s is of other company (halve_at); the member is trained from the start", path)
            return None
        return Checkpoint(epoch=record["epoch"], progress=record["progress"], state=state)

    def save_checkpoint(self, checkpoint: Checkpoint, origin: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        state = {name: value.detach().cpu().contiguous() for name, value in checkpoint.state.items()}
        record = {
            "member": self.config.member_id,
            "version": CHECKPOINT_VERSION,
            "cache": dict(origin),
            "company": list(self.company),
            "epoch": checkpoint.epoch,
            "progress": checkpoint.progress,
        }
        metadata = {"losa": json.dumps(record)}
        metadata["sha256"] = _digest(metadata["losa"], state)
        publish(self.folder / CHECKPOINT_NAME, save(state, metadata))

    def start(self, epoch: int) -> None:
        """Write the configuration, and remove the results of an earlier training.

        Args:
            epoch: first epoch to be trained; metrics of the epochs before it are kept.
        """
        names = [SUMMARY_NAME, CONFUSION_NAME, DESCRIPTION_NAME, TENSORS_NAME]
        if not epoch:
            # A later training would resume from it, although its metrics are gone.
            names.append(CHECKPOINT_NAME)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        publish(self.folder / CONFIG_NAME, _json(asdict(self.config)))
        metrics = self.folder / METRICS_NAME
        if epoch and metrics.exists():
            lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
            publish(metrics, "".join(lines[:epoch]).encode())
        else:
            metrics.write_bytes(b"")

    def add_metrics(self, record: Mapping[str, Any]) -> None:
        """Append a line to the metrics."""
        with (self.folder / METRICS_NAME).open("a", encoding="utf-8") as file:
            print(json.dumps(record), file=file)

    def finish(self, summary: MemberSummary, confusion: Mapping[str, Any]) -> None:
        """Write the results, the summary last: its presence means that the member is finished.

        Args:
            summary: the results.
            confusion: names of the classes, and how often which are confused, as JSON values.
        """
        publish(self.folder / CONFUSION_NAME, json.dumps(confusion).encode() + b"\n")
        publish(self.folder / SUMMARY_NAME, _json(summary.to_json()))
        (self.folder / CHECKPOINT_NAME).unlink(missing_ok=True)


def _metadata(data: bytes) -> dict[str, str]:
    """Metadata of a safetensors file, which begins with the length of a JSON header."""
    end = 8 + int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8:end])["__metadata__"]
    return found


def _digest(record: str, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(record.encode())
    for name in sorted(state):
        array = state[name].numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
