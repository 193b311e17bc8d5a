"""What losa tells people to type arrives as the text that they meant."""

import string
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from losa.pipelines.shell_override import shell_override

SIGNS = string.punctuation + " \t\nüß漢🙂0189eEab"
TEXTS = st.text(
    st.sampled_from(SIGNS) | st.characters(exclude_characters="\0", exclude_categories=["Cs"])
).filter(lambda text: text != "???")
"""Any text but OmegaConf's mark for a missing value, which cannot be escaped."""


@given(text=TEXTS)
@example(text="my photos (1), v=2")
@example(text="epoch=3.safetensors")
@example(text="~/photos")
@example(text="hash#1")
@example(text="${HOME}/\\${x}\\\\${y")
@example(text="ends in \\")
@example(text="ends in \\\\")
@example(text="a\\\"b'c\\'")
@example(text="null")
@example(text="1e3")
@example(text=" spaces ")
@example(text="glob(*)")
@example(text="")
def test_every_text_arrives_as_it_is(text: str, arrived: Callable[[str], str]) -> None:
    typed = shell_override("dataset.root", text)
    assert arrived(typed) == text
    assert typed.lstrip("'").startswith("dataset.root=")


@pytest.mark.parametrize("text", ["caches/digits", "s3://bucket/a_b.c", "../photos", "C-3@x:y"])
def test_plain_texts_stay_plain(text: str) -> None:
    assert shell_override("cache", text) == f"cache={text}"
