from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("losa-cache", ["info"]), ("losa-cache", ["verify"]), ("losa-bench", ["codecs", "--split", "val"])],
)
def test_names_in_errors_do_not_act_on_the_terminal(
    name: str, arguments: list[str], command: Callable[..., Any], tmp_path: Path
) -> None:
    failed = command(tmp_path, name, *arguments, "a[/b]\x1b[31m")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert "a[/b]\\x1b[31m" in failed.stderr
    assert "\x1b" not in failed.stderr
