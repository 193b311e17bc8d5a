"""What each split of a task is for: a choice never sees the images that are scored in the end."""

from collections.abc import Mapping
from dataclasses import dataclass

from losa.cache_format import LosaError, SplitContents
from losa.cache_format.common.units import counted
from losa.extract.config import SplitParts
from losa.extract.sources import ImageSource
from losa.extract.sources.lists import STANDARD_SPLITS
from losa.extract.splitting import cut

TEST = "test"
_CUT: dict[str, int | float] = {"train90": 0.9, "val10": 0.1}
"""Parts of a training split without a validation split beside it."""
_WHOLE = "train"
_HELD_OUT = ("val", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRoles:
    """The splits of a task, by what they are for. The last role is that of ``test``."""

    fit: str
    """Candidates are trained on it."""
    held_out: str
    """The choice is made on it."""
    both: tuple[str, ...]
    """The choice is trained on the union of these."""
    parts: SplitParts | None = None
    """How ``fit`` and ``held_out`` are cut from ``train``; None if they are splits of the data set."""

    @property
    def extracted(self) -> list[str]:
        """The splits of the cache, the one that holds all images first, if there is one."""
        return list(dict.fromkeys([*self.both, self.fit, self.held_out]))

    @property
    def cut_from(self) -> str | None:
        """The split that is cut."""
        return None if self.parts is None else _WHOLE


def roles_of(source: ImageSource, *, needs_lists: bool) -> SplitRoles:
    """The roles of a task's splits.

    Args:
        source: the task.
        needs_lists: whether nothing but the four lists of VTAB-1K will do.

    Raises:
        LosaError: splits are missing.
    """
    splits = source.splits
    missing = [name for name in STANDARD_SPLITS if name not in splits]
    if not missing:
        fit, held_out, both, _ = STANDARD_SPLITS
        return SplitRoles(fit=fit, held_out=held_out, both=(both,))
    if needs_lists:
        raise LosaError(
            f"{', '.join(f'{name}.txt' for name in missing)} missing: expected the lists "
            f"{', '.join(f'{name}.txt' for name in STANDARD_SPLITS)}, found {', '.join(splits)}"
        )
    if _WHOLE not in splits or TEST not in splits:
        raise LosaError(
            f"expected splits {_WHOLE}, {TEST} and, if there is one, {_HELD_OUT[0]}; or the lists "
            f"{', '.join(STANDARD_SPLITS)}; found {', '.join(splits)}"
        )
    for name in _HELD_OUT:
        if name in splits:
            return SplitRoles(fit=_WHOLE, held_out=name, both=(_WHOLE, name))
    fit, held_out = _CUT
    return SplitRoles(fit=fit, held_out=held_out, both=(fit, held_out), parts=_CUT)


def contents_of(source: ImageSource, roles: SplitRoles) -> Mapping[str, SplitContents]:
    """The contents of all splits that have a role, by name.

    Raises:
        LosaError: a split is empty or wrong, or splits share images that must not.
    """
    parts = [] if roles.parts is None else cut(source, roles.cut_from, roles.parts, 0)
    found = {part.name: part for part in parts}
    for name in (*roles.extracted, TEST):
        if name not in found:
            found[name] = source.contents(name)
    fit, held_out, test = (set(found[name].keys) for name in (roles.fit, roles.held_out, TEST))
    _refuse_shared(roles.fit, fit, roles.held_out, held_out)
    for name in roles.extracted:
        _refuse_shared(name, set(found[name].keys), TEST, test)
    return found


def difference_of_both(contents: Mapping[str, SplitContents], roles: SplitRoles) -> str | None:
    """How the images that a choice is trained on differ from those of the choice; None if they do not."""
    both = {key for name in roles.both for key in contents[name].keys}
    parts = {key for name in (roles.fit, roles.held_out) for key in contents[name].keys}
    if both == parts:
        return None
    return (
        f"{'+'.join(roles.both)} is not {roles.fit} and {roles.held_out} together: {len(both - parts)} of "
        f"its images are in neither, {len(parts - both)} of theirs are not in it"
    )


def _refuse_shared(one: str, keys: set[str], other: str, others: set[str]) -> None:
    if shared := sorted(keys & others):
        told = counted(len(shared), f"image of {one} is", f"images of {one} are")
        raise LosaError(
            f"{told} also in {other}, such as {shared[0]}: expected none, because "
            "nothing is chosen or scored on images that were trained on"
        )
