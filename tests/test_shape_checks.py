"""While the tests run, the shapes in signatures are checked."""

import jaxtyping
import numpy as np
import pytest

from losa.cache_format.codecs import Calibration
from losa.cache_format.metadata.index import image_ids


def test_a_function_refuses_another_dtype() -> None:
    assert image_ids(np.zeros((3, 2), np.int64)).shape == (3,)
    with pytest.raises(jaxtyping.TypeCheckError):
        image_ids(np.zeros((3, 2), np.float32))


def test_a_dataclass_refuses_axes_of_different_lengths() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Calibration(np.zeros((2, 4), np.float32), np.ones((2, 5), np.float32))
