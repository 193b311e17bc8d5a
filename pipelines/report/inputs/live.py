"""Trainings through the live backbone: the records of losa-bench live."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from losa.cache_format import CorruptCache, LosaError
from losa.cache_format.storage.sealed_json import unseal
from losa.pipelines.report.inputs.contract import Member
from losa.pipelines.shown_options import shown

_DIGEST = 17
"""Characters of the hash, and of the dash before it, at the end of a record's name."""


def read_live(folder: Path) -> Sequence[Member] | None:
    """The trainings that have a record in a folder; see `Reader`."""
    return [_member(path) for path in sorted(folder.glob("*-lr*-seed*.json"))] or None


def _member(path: Path) -> Member:
    try:
        record = unseal(path.read_bytes(), path)
        training, result = record["training"], record["result"]
        # Only the name of the file tells the data set and the split.
        before = f"-{training['method']}-lr{training['lr']:g}-seed{training['seed']}-"
        name, _, split = path.stem[:-_DIGEST].rpartition(before)
        return _member_of(name, split, training, result)
    except CorruptCache as error:
        raise LosaError(str(error)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise LosaError(f"{path} is not a record of losa-bench live: {error!r}") from None


def _member_of(name: str, split: str, training: dict[str, Any], result: dict[str, Any]) -> Member:
    accuracy = result["accuracy"]
    return Member(
        task=name,
        kind=f"{training['method']} (live)",
        options={
            option: shown(training[option]) for option in ("rank", "lr") if training[option] is not None
        },
        seeds=(shown(training["seed"]),),
        accuracy={} if accuracy is None else {split: accuracy},
        status="failed" if accuracy is None else "finished",
        reason="" if accuracy is not None else "the loss became NaN or infinite",
        parameters=result["parameters"],
        seconds=result.get("seconds"),
        rank=training["rank"],
    )
