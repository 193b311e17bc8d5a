"""Sealed JSON: records that contain their own checksum."""

import json
from typing import Any

from crc32c import crc32c

from losa.cache_format.errors import CorruptCache
from losa.cache_format.storage.paths import CachePath

_CHECKSUM = "record_crc32c"


def canonical(content: object) -> bytes:
    """The canonical encoding of a JSON value, which is hashed: sorted keys, no white space, UTF-8."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def seal(content: dict[str, Any]) -> bytes:
    """Indented JSON with the crc32c of the canonical encoding as the last field."""
    sealed = {**content, _CHECKSUM: f"{crc32c(canonical(content)):08x}"}
    return json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def unseal(data: bytes, path: CachePath) -> dict[str, Any]:
    """The content of a sealed record.

    Raises:
        CorruptCache: the data are not JSON, or the checksum is wrong; the message names ``path``.
    """
    try:
        content = json.loads(data)
        found = content.pop(_CHECKSUM)
        expected = f"{crc32c(canonical(content)):08x}"
    except (KeyError, TypeError, AttributeError):
        raise CorruptCache(
            f"{path}: not a sealed JSON record: expected an object with its checksum in {_CHECKSUM!r}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CorruptCache(f"{path}: not a sealed JSON record ({error})") from None
    if found != expected:
        raise CorruptCache(
            f"{path}: damaged or edited by hand: its checksum is {found!r}, that of its content {expected!r}"
        )
    return dict(content)
