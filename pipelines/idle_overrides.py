"""Options that somebody has given to losa-adapt and that no member of the command reads."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from losa.adapt import AdaptConfig
from losa.adapt.members.resolution import features_of
from losa.cache_format import LosaError

_NEEDED = {
    "momentum": ("optimizer", "sgd"),
    "select_split": ("protocol", "select"),
    "select_train_split": ("protocol", "select"),
}
"""Options that another option has to have this value for."""


def idle_overrides(jobs: Iterable[tuple[Sequence[str], AdaptConfig]]) -> Iterator[str]:
    """Say which options have no effect on any of the jobs they were given to.

    In a sweep over kinds of side networks an option need not be for all of them. So it is told, not refused.

    Args:
        jobs: the overrides of each job, and its member.
    """
    given: dict[str, dict[str, None]] = defaultdict(dict)
    why: dict[str, dict[str, None]] = defaultdict(dict)
    read: set[str] = set()
    for overrides, config in jobs:
        for override in overrides:
            name, _, value = override.lstrip("+").partition("=")
            reason = _why_idle(name, config)
            if reason is None:
                read.add(name)
            else:
                given[name][value] = None
                why[name][reason] = None
    for name, values in given.items():
        if name not in read:
            yield f"{name}={','.join(values)} has no effect {' or '.join(why[name])}"


def _why_idle(name: str, config: AdaptConfig) -> str | None:
    """Why an option has no effect on a member; None if it has one, or if its name is not one of an option."""
    if name == "mixing" and _holds_images(config.cache):
        return "on images: it is for clips of several frames"
    if name not in config.idle_options:
        return None
    if name in _NEEDED:
        option, value = _NEEDED[name]
        return f"with {option}={getattr(config, option)}: it is for {option}={value}"
    return f"on side={config.side}"


def _holds_images(cache: str) -> bool:
    try:
        return features_of(cache).group.tokens.frames == 1
    except LosaError:  # told when the member is trained
        return False
