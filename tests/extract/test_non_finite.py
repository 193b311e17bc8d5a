import pytest

from losa.cache_format import NonFiniteActivations
from losa.extract.non_finite import refuse_non_finite, refuse_overflow


def test_non_finite_values_are_refused_with_site_and_way_out():
    refuse_overflow("float16", "block.03", 0)
    with pytest.raises(NonFiniteActivations) as caught:
        refuse_overflow("float16", "block.03", 12)
    assert str(caught.value) == (
        "12 values at site 'block.03' are too large for codec=float16: use codec=bfloat16 or codec=int8"
    )
    for codec, advice in (
        ("bfloat16", "codec=int8 or codec=float32"),
        ("int8", "codec=bfloat16 or codec=float32"),
        ("int4", "codec=bfloat16 or codec=int8"),
    ):
        with pytest.raises(NonFiniteActivations, match=rf"too large for codec={codec}: use {advice}$"):
            refuse_overflow(codec, "block.03", 1)
    refuse_non_finite("block.03", 0)
    with pytest.raises(NonFiniteActivations) as caught:
        refuse_non_finite("block.03", 5)
    assert str(caught.value) == (
        "the backbone produced 5 NaN or infinite values at site 'block.03': compute in a wider dtype "
        "(dtype=float32 or dtype=bfloat16), or check the weights"
    )
