"""Whole commands run without shape checks; a file of its own, because the fixture lasts as long as a file."""

import numpy as np

from losa.cache_format.metadata.index import image_ids


def test_whole_commands_go_unchecked() -> None:
    assert image_ids(np.zeros((3, 2), np.int32)).shape == (3,)
