"""Options as they are typed: a value quoted for Hydra's grammar, then for the shell."""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def shell_override(name: str, value: str) -> str:
    """``name=value`` as it is typed in a shell, for a value that is a text.

    >>> print(shell_override("cache", "caches/digits"))
    cache=caches/digits
    >>> print(shell_override("dataset.root", "/data/my photos (1), v=2"))
    'dataset.root="/data/my photos (1), v=2"'
    """
    return shlex.quote(f"{name}={quoted(value)}")


def quoted(text: str) -> str:
    """A text in Hydra's grammar: in quotes, unless Hydra takes it for this text without them.

    >>> print(quoted("caches/digits"), quoted("10"), quoted("a, b"))
    caches/digits "10" "a, b"
    """
    return text if _is_read_as_it_stands(text) else always_quoted(text)


def always_quoted(text: str) -> str:
    """A text in Hydra's grammar, in quotes."""
    # An interpolation in quotes is still one: OmegaConf resolves it. It reads backslashes before it in pairs.
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(escaped, Quote.double).with_quotes()


def _is_read_as_it_stands(text: str) -> bool:
    if "${" in text:
        return False
    try:
        return OverridesParser.create().parse_override(f"name={text}").value() == text
    except HydraException:
        return False
