"""The options of a suite, beyond their types."""

from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.extract import DatasetConfig


def test_an_extraction_has_the_options_of_the_suite(options: Any) -> None:
    config = options("extract.codec=int4", "extract.grid=7x7", "device=cpu", "threads=2")
    found = config.extraction(DatasetConfig(kind="digits", name="digits"), "here", splits=["test"])
    assert (found.codec, found.grid, found.device, found.threads) == ("int4", "7x7", "cpu", 2)
    assert (found.cache, found.splits, found.resize) == ("here", ["test"], "squash")


@pytest.mark.parametrize(
    ("typed", "message"), [("extract.grid=7x", "extract.grid="), ("extract.std=0.0", "extract.std=0")]
)
def test_options_that_contradict_each_other_are_refused(options: Any, typed: str, message: str) -> None:
    with pytest.raises(LosaError, match=f"^{message}"):
        options(typed)
