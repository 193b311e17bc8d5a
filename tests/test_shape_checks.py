"""While the tests run, the shapes in signatures are checked."""

import jaxtyping
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Int64

import shape_checks
from losa.cache_format.codecs import Calibration
from losa.cache_format.metadata.index import image_ids


def test_a_function_refuses_another_dtype() -> None:
    assert image_ids(np.zeros((3, 2), np.int64)).shape == (3,)
    with pytest.raises(jaxtyping.TypeCheckError):
        image_ids(np.zeros((3, 2), np.float32))


def test_a_dataclass_refuses_axes_of_different_lengths() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Calibration(np.zeros((2, 4), np.float32), np.ones((2, 5), np.float32))


def test_what_was_valid_once_does_not_hide_what_is_not() -> None:
    for _ in range(2):
        assert image_ids(np.zeros((3, 2), np.int64)).shape == (3,)
        for wrong in (np.zeros((3, 2), np.int32), np.zeros(3, np.int64), np.zeros((3, 2), np.float64)):
            with pytest.raises(jaxtyping.TypeCheckError):
                image_ids(wrong)


def test_a_result_of_another_shape_is_refused_though_arguments_are_the_same() -> None:
    lengths = iter((3, 3, 2))

    @shape_checks.check_where_shapes_are(typechecker=beartype)
    def shortened(values: Int64[np.ndarray, "length"]) -> Int64[np.ndarray, "length"]:
        return values[: next(lengths)]

    for _ in range(2):
        assert len(shortened(np.arange(3))) == 3
    with pytest.raises(jaxtyping.TypeCheckError):
        shortened(np.arange(3))
