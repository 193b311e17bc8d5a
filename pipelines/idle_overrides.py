"""Tells which options were typed and have no effect on any member of a run.

They are told, not refused: in a sweep, or in a loop of a shell, an option of one side network stands beside
others that do not have it, and what is trained is what was asked for.
"""

import logging
from collections.abc import Mapping, Sequence

_log = logging.getLogger(__name__)


def tell_idle_overrides(typed: Sequence[str], idle: Sequence[Mapping[str, str]]) -> None:
    """Log each typed option that has no effect on any of the members, once.

    Args:
        typed: the options as they were typed: ``heads=7``, or ``heads=4,8`` for a sweep.
        idle: for each member, the options without an effect on it, and what with, as
            `losa.adapt.AdaptConfig.idle_options`.
    """
    for option in typed:
        name = option.lstrip("+").partition("=")[0]
        if idle and all(name in each for each in idle):
            causes = " and ".join(dict.fromkeys(each[name] for each in idle))
            _log.warning("%s has no effect with %s", option, causes)
