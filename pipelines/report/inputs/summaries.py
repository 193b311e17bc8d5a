"""The summaries of members, wherever their folders are now."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from losa.adapt import MemberSummary
from losa.adapt.members.member_files import SUMMARY_NAME
from losa.cache_format import LosaError


def found_folder(written: str, near: Path) -> Path | None:
    """The folder that a file names, whose path was relative to where a command ran; None if it is gone.

    Args:
        written: the path in the file.
        near: the folder of the file. What is below it, by the end of the path, was moved or copied with the
            file, and comes before what is still where the path leads: from a folder around it, or from here.
    """
    if not written:
        return None
    path = Path(written)
    parts = path.relative_to(path.anchor).parts
    below = (near.joinpath(*parts[start:]) for start in range(len(parts)))
    around = (folder / path for folder in near.absolute().parents)
    return next((place for place in (*below, *around, path) if place.is_dir()), None)


def read_summary(folder: Path) -> MemberSummary | None:
    """The summary of a member; None if its folder has none.

    Raises:
        LosaError: it is damaged, or of something else.
    """
    path = folder / SUMMARY_NAME
    try:
        content = json.loads(path.read_bytes())
        return MemberSummary.from_json(content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise LosaError(
            f"{path} is not the summary of a member, or is damaged; losa-adapt with overwrite=true trains "
            "the member again"
        ) from None


def summaries_below(folder: Path) -> Iterator[tuple[Path, MemberSummary]]:
    """The folders of all members in a folder at any depth, or of the one that it is itself, in order."""
    for path in sorted(folder.rglob(SUMMARY_NAME)):
        summary = read_summary(path.parent)
        if summary is not None:
            yield path.parent, summary


def costs(summary: MemberSummary | None) -> dict[str, Any]:
    """The fields of a `Member` that only its summary has."""
    if summary is None:
        return {}
    return {
        "peak_bytes": summary.shared_pass.peak_bytes,
        "rank": summary.rank,
        "sites": len(summary.sites),
    }
