import logging

import pytest

from losa.pipelines.plain_text import PlainFormatter, in_one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb\x00", "a\\rb\\x00"),
        ("\u202egnp", "\\u202egnp"),
        ("\udcff", "\\udcff"),
        ("größe 犬\n\tb", "größe 犬\n\tb"),
    ],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown
    record = logging.makeLogRecord({"msg": "%s is skipped", "args": (text,)})
    assert PlainFormatter("%(message)s").format(record) == f"{shown} is skipped"


def test_a_cell_of_a_table_has_no_line_ends() -> None:
    assert in_one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"
