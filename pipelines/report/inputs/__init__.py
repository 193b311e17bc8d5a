"""Results that a page can tell of, one kind per file. `read_members` tries them in turn."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.paths import instead_of_folder
from losa.pipelines.matching_paths import matching_paths
from losa.pipelines.report.inputs.contract import Member, Reader
from losa.pipelines.report.inputs.efficiency import refuse_efficiency
from losa.pipelines.report.inputs.live import read_live
from losa.pipelines.report.inputs.study import read_study
from losa.pipelines.report.inputs.suite import read_suite
from losa.pipelines.report.inputs.sweep import read_sweep

__all__ = ["Member", "read_members"]

_READERS: Mapping[str, Reader] = {
    "the folder of a study (losa-bench accuracy, ablations)": read_study,
    "that of a benchmark (losa-vtab1k, losa-fgvc)": read_suite,
    "that of trainings through the live backbone (losa-bench live)": read_live,
    "that of a sweep or of members (losa-adapt)": read_sweep,
}
"""What each of them reads -> the reader. The last one takes any folder in which there are members."""


def read_members(places: Sequence[str]) -> list[Member]:
    """The members of some folders.

    Args:
        places: folders, or patterns of folders.

    Raises:
        LosaError: a place does not exist or holds no members, or results cannot be read.
    """
    members: list[Member] = []
    for place in places:
        paths = matching_paths(place)
        folders = [path for path in paths if path.is_dir()]
        if not folders:
            raise LosaError(f"{place}: {instead_of_folder(paths[0] if paths else Path(place))}")
        for folder in folders:
            refuse_efficiency(folder)
            found = next(filter(None, (read(folder) for read in _READERS.values())), None)
            if found is None:
                raise LosaError(f"{folder}: expected {', or '.join(_READERS)}; it holds no results")
            members += found
    return members
