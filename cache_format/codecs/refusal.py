"""No cache holds NaN or infinity: what raises, and what it advises."""

from losa.cache_format.errors import NonFiniteActivations
from losa.cache_format.identity import CodecName


def refuse_non_finite(name: CodecName, site: str, activations: int, codes: int) -> None:
    """Raise if a site has non-finite activations, or activations that the codec made non-finite.

    Args:
        name: the codec.
        site: where the values come from.
        activations: how many of the backbone's values are NaN or infinite.
        codes: how many are so after encoding and decoding.

    Raises:
        NonFiniteActivations: a count is not zero; the message names the site and the way out.
    """
    if activations:
        raise NonFiniteActivations(
            f"the backbone produced {activations} NaN or infinite values at site {site!r}: "
            "compute in a wider dtype (dtype=float32 or dtype=bfloat16), or check the weights"
        )
    if codes:
        wider = [f"codec={other}" for other in ("bfloat16", "int8", "float32") if other != name]
        raise NonFiniteActivations(
            f"{codes} values at site {site!r} are too large for codec={name}: use {wider[0]} or {wider[1]}"
        )
