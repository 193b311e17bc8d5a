"""Tells which options were typed and have no effect on any member of a run.

They are told, not refused: in a sweep, or in a loop of a shell, an option of one side network stands beside
others that do not have it, and what is trained is what was asked for.
"""

import logging
from collections.abc import Callable, Sequence

from losa.adapt import AdaptConfig
from losa.adapt.members.resolution import idle_options_on_cache
from losa.cache_format.identity import FeatureIdentity

_log = logging.getLogger(__name__)


def tell_idle_overrides(
    typed: Sequence[str], members: Sequence[AdaptConfig], find: Callable[[str], FeatureIdentity]
) -> None:
    """Log each typed option that has no effect on any of the members, once.

    Args:
        typed: the options as they were typed: ``heads=7``, or ``heads=4,8`` for a sweep.
        members: the configurations that were asked for.
        find: `losa.adapt.members.resolution.features_of`, or the same with a memory.
    """
    idle = [idle_options_on_cache(member, find) for member in members]
    for option in typed:
        name = option.lstrip("+").partition("=")[0]
        if idle and all(name in each for each in idle):
            causes = " and ".join(dict.fromkeys(each[name] for each in idle))
            _log.warning("%s has no effect with %s", option, causes)
