"""Refuses NaN and infinite values, which would otherwise spoil a cache without notice."""

from losa.cache_format import NonFiniteActivations
from losa.cache_format.codecs import CodecName


def refuse_non_finite(site: str, count: int) -> None:
    """Refuse a site at which the backbone produced NaN or infinite values.

    Args:
        site: name of the site.
        count: number of these values.

    Raises:
        NonFiniteActivations: the count is not zero; the message says which options to change.
    """
    if count:
        raise NonFiniteActivations(
            f"the backbone produced {count} NaN or infinite values at site {site!r}: "
            "compute in a wider dtype (dtype=float32 or dtype=bfloat16), or check the weights"
        )


def refuse_overflow(codec: CodecName, site: str, count: int) -> None:
    """Refuse a site with values that the codec cannot represent.

    Args:
        codec: name of the codec.
        site: name of the site.
        count: number of values that are NaN or infinite after encoding and decoding.

    Raises:
        NonFiniteActivations: the count is not zero; the message names wider codecs.
    """
    if count:
        wider = [f"codec={other}" for other in ("bfloat16", "int8", "float32") if other != codec]
        raise NonFiniteActivations(
            f"{count} values at site {site!r} are too large for codec={codec}: use {wider[0]} or {wider[1]}"
        )
