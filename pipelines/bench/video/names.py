"""Refuses names on the command line that stand for nothing."""

from collections.abc import Sequence
from typing import get_args

from losa.adapt.architecture import Mixing
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format.codecs import CodecName
from losa.pipelines.bench import unknown_names
from losa.pipelines.bench.matrix_rate import Dtype
from losa.pipelines.bench.video.shapes import SHAPES

_KNOWN: dict[str, Sequence[str]] = {
    "backbone": tuple(SHAPES),
    "side": tuple(SIDE_NETWORKS),
    "mixing": get_args(Mixing),
    "codec": get_args(CodecName),
    "dtype": get_args(Dtype),
}


def refuse_unknown(**given: str | Sequence[str]) -> None:
    """Refuse unknown names.

    Args:
        given: option -> its name, or names.

    Raises:
        LosaError: a name is unknown; the message lists those that are known.
    """
    for option, names in given.items():
        unknown_names.refuse_unknown(
            f"--{option}", [names] if isinstance(names, str) else names, _KNOWN[option]
        )
