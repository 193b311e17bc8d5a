import logging
import sys

import pytest

from losa.cache_format.common.progress import progress_bar
from losa.pipelines.console_handler import ConsoleHandler


def test_a_message_has_a_line_of_its_own_above_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress_bar(10, "working", "img") as bar:
        bar.update(5)
        ConsoleHandler(sys.stderr).handle(logging.makeLogRecord({"msg": "half of it"}))
    *_, before, after = capsys.readouterr().err.split("half of it")
    assert before.rsplit("\r", 2)[1:] == [" " * len(before.rsplit("\r", 2)[1]), ""]  # the bar is wiped out
    assert after.startswith("\n\rworking:  50%|")
