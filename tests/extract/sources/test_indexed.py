import unicodedata

import pytest

from losa.extract.sources.indexed import item_keys


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a/1.jpg", "b/1.jpg"], ["x/a/1.jpg", "x/b/1.jpg"]),
        (["./a//1.jpg", "b\\1.jpg"], ["x/a/1.jpg", "x/b/1.jpg"]),
        (["/data/1.jpg", "https://host/2.jpg"], ["x/1.jpg", "x/2.jpg"]),
        (["../../1.jpg", "2.jpg"], ["x/1.jpg", "x/2.jpg"]),
        (["/data/1.jpg", "/other/1.jpg"], ["x/0", "x/1"]),
        (["1.jpg", None], ["x/0", "x/1"]),
        (["1.jpg", ""], ["x/0", "x/1"]),
        ([unicodedata.normalize("NFD", "ä"), "ä"], ["x/0", "x/1"]),
    ],
)
def test_keys_are_names_or_else_numbers(names, keys):
    assert item_keys("x", names) == keys
