"""Types of the fields of JSON records, which are validated when a record is constructed."""

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Count = Annotated[int, Field(ge=0, le=2**40)]
Size = Annotated[int, Field(ge=1, le=2**24)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$"
"""Pattern of the names of splits, segments, columns and constants, which become names of files."""
RESERVED_SUFFIXES = (".json", ".h5", ".tmp")
"""Suffixes of files that losa itself writes; names must not end in them."""


def is_name(text: str) -> bool:
    """Whether a text is a valid name of a split, segment, column or constant.

    >>> is_name("train800"), is_name("zarr.json"), is_name("../x")
    (True, False, False)
    """
    return bool(re.fullmatch(NAME_PATTERN, text)) and not text.endswith(RESERVED_SUFFIXES)


def _refuse_reserved(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text!r} is the name of a file of the cache's own")
    return text


Name = Annotated[str, Field(pattern=NAME_PATTERN), AfterValidator(_refuse_reserved)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
