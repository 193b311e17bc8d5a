"""The folder of a member: its configuration, metrics, checkpoint and results."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.members.summary import MemberSummary
from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format import CorruptCache, LosaError
from losa.cache_format.storage.atomic_writes import publish
from losa.cache_format.storage.sealed_json import unseal

_log = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
SUMMARY_NAME = "summary.json"
CONFUSION_NAME = "confusion.json"
DIVERGENCE_NAME = "diverged.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
_NAMES = ("member", "name")
"""Fields of a summary by which another member is told."""
CHECKPOINT_VERSION = 1
"""To be raised when names or shapes in a member's state change."""
BEST = "best."
"""Prefix of the best parameters in the state of a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A member between two steps."""

    epoch: int
    """Number of epochs done."""
    step: int = 0
    """Number of steps done in the next epoch. After all of them the epoch is still to be concluded."""
    micro_batch_size: int | None = None
    """Number of images to compute at once; None to choose it."""
    progress: dict[str, Any]
    """JSON values: scores, and whether the member was stopped."""
    state: dict[str, Tensor]
    """Parameters, optimiser state and sums of the epoch under way, by name."""

    @property
    def place(self) -> tuple[int, int, int | None]:
        """What members of one pass have in common: epoch, step and size of the micro-batches."""
        return self.epoch, self.step, self.micro_batch_size


@dataclass(frozen=True, slots=True)
class MemberFiles:
    """Reads and writes one member's folder."""

    folder: Path
    config: AdaptConfig
    company: tuple[str, ...] = ()
    """Ids of the members that successive halving compares, this one included; empty without ``halve_at``."""

    def read_finished(
        self, origin: Mapping[str, Any], *, warn: Callable[..., None] = _log.warning
    ) -> MemberSummary | None:
        """The summary if this member is finished and was trained from the same data, in whatever company.

        A damaged summary counts as missing, and so does one whose side network is missing or damaged.

        Args:
            origin: identity of the data, as in `MemberSummary.cache`.
            warn: told why a summary does not count, in the way of `logging.Logger.warning`.

        Raises:
            LosaError: the folder holds another finished member, or a file of this name of something else.
        """
        path = self.folder / SUMMARY_NAME
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and content and "member" not in content:
            raise LosaError(
                f"{path} is not the summary of a member: choose another folder (out=... or "
                "hydra.run.dir=...), or overwrite=true"
            )
        if not (isinstance(content, dict) and all(isinstance(content.get(key), str) for key in _NAMES)):
            warn("%s is damaged; the member is trained again", path)
            return None
        if content["member"] != self.config.member_id:
            raise LosaError(
                f"{self.folder} holds another finished member, {content['name']}; this one is "
                f"{self.config.member_name}: choose another folder (out=... or hydra.run.dir=...), "
                "or overwrite=true"
            )
        if content.get("cache") != origin:
            warn("%s was trained from another state of the cache; it is trained again", self.folder)
            return None
        try:
            summary = MemberSummary.from_json(content)
        except ValueError:
            warn("%s is damaged; the member is trained again", path)
            return None
        problem = self._network_problem()
        if problem is not None:
            warn("%s; the member is trained again", problem)
            return None
        return summary

    def _network_problem(self) -> str | None:
        """What is wrong with the files of the side network; None if they are as they were written."""
        path, tensors = self.folder / DESCRIPTION_NAME, self.folder / TENSORS_NAME
        try:
            description = unseal(path.read_bytes(), path)
            with tensors.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            return f"{error.filename} is missing"
        except CorruptCache as error:
            return str(error)
        return None if digest == description.get("tensors_sha256") else f"{tensors} is damaged"

    @property
    def checkpoint_path(self) -> Path:
        """Path of the checkpoint, which need not exist."""
        return self.folder / CHECKPOINT_NAME

    def read_checkpoint(self, origin: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint of an interrupted training; None if there is none to resume from.

        Args:
            origin: identity of the data.
        """
        path = self.checkpoint_path
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
        return Checkpoint(
            epoch=record["epoch"],
            # The first checkpoints were taken between epochs only, and did not tell the size.
            step=record.get("step", 0),
            micro_batch_size=record.get("micro_batch_size"),
            progress=record["progress"],
            state=state,
        )

    def save_checkpoint(self, checkpoint: Checkpoint, origin: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        state = {name: value.detach().cpu().contiguous() for name, value in checkpoint.state.items()}
        record = {
            "member": self.config.member_id,
            "version": CHECKPOINT_VERSION,
            "cache": dict(origin),
            "company": list(self.company),
            "epoch": checkpoint.epoch,
            "step": checkpoint.step,
            "micro_batch_size": checkpoint.micro_batch_size,
            "progress": checkpoint.progress,
        }
        metadata = {"losa": json.dumps(record)}
        metadata["sha256"] = _digest(metadata["losa"], state)
        publish(self.folder / CHECKPOINT_NAME, save(state, metadata))

    def read_divergence(self, origin: Mapping[str, Any]) -> LosaError | None:
        """The error with which this member has diverged, from the same data and in the same company.

        Args:
            origin: identity of the data.
        """
        try:
            content = json.loads((self.folder / DIVERGENCE_NAME).read_bytes())
            found = (content["member"], content["cache"], content["company"])
            message = content["error"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if found != (self.config.member_id, dict(origin), list(self.company)):
            return None
        return LosaError(f"{message}. It diverged before; overwrite=true trains it again")

    def save_divergence(self, error: str, origin: Mapping[str, Any]) -> None:
        """Write down that the member diverged.

        Args:
            error: message of the error that the member failed with.
            origin: identity of the data.
        """
        record = {
            "member": self.config.member_id,
            "cache": dict(origin),
            "company": list(self.company),
            "error": error,
        }
        publish(self.folder / DIVERGENCE_NAME, _json(record))

    def start(self, epoch: int) -> None:
        """Write the configuration, and remove the results of an earlier training.

        Args:
            epoch: first epoch to be trained; metrics of the epochs before it are kept.
        """
        names = [SUMMARY_NAME, CONFUSION_NAME, DESCRIPTION_NAME, TENSORS_NAME, DIVERGENCE_NAME]
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
        if not self.company:  # which resumes together
            self.remove_checkpoint()

    @property
    def is_finished(self) -> bool:
        """Whether `finish` has been called since `start`."""
        return (self.folder / SUMMARY_NAME).exists()

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint, which is no longer needed."""
        self.checkpoint_path.unlink(missing_ok=True)


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
