import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from losa.pipelines.ending import ending


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_ends_with_a_word_and_its_exit_code(
    number: signal.Signals, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []
    with pytest.raises(SystemExit) as ended, ending("do it again"):
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(word)
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"{word}: do it again\n"
    assert cleaned == [word]


def test_another_end_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="error: no"), ending():
        sys.exit("error: no")
    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("name", ["extract_command", "adapt_command"])
def test_a_closed_pipe_is_no_error(name: str) -> None:
    program = f"import sys; sys.argv[1:] = ['--help']; from losa.pipelines.{name} import main; main()"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(write)
    assert ended.stderr == b""
    assert ended.returncode == 128 + signal.SIGPIPE


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("program", ["print(1)", "print('x' * 100_000)", "print(1); sys.exit('error: no')"])
def test_a_full_disk_behind_standard_output_is_told_in_a_line(program: str) -> None:
    program = f"import sys; from losa.pipelines.ending import ending\nwith ending(): {program}"
    with FULL.open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert ended.stderr == b"error: standard output: No space left on device\n"
    assert ended.returncode == 1
