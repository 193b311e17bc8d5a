"""Refuses names on the command line that stand for nothing."""

from collections.abc import Sequence
from typing import get_args

from losa.adapt.architecture import Mixing
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.common.suggestions import nearest
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
        for name in [names] if isinstance(names, str) else names:
            if name not in (known := _KNOWN[option]):
                choices = ", ".join(known)
                raise LosaError(f"--{option} {name}: expected one of {choices}{nearest(name, known)}")
