from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("named", [["page"], []])
def test_a_page_is_what_is_written_unless_another_command_is_named(
    named: list[str], command: Callable[..., Any], tmp_path: Path
) -> None:
    failed = command(tmp_path, "losa-report", *named, "--out", "page.html", "nowhere")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: nowhere: ")
