"""Answers and ends of the process of a method, which are those of small programs here."""

import sys

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.extraction import process
from losa.pipelines.bench.extraction.process import MethodProcess


@pytest.fixture
def run(setting, monkeypatch):
    """``run(program)``: the process of a method, which runs a program instead."""

    def run(program):
        monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", program))
        return MethodProcess(setting("losa"))

    return run


def test_it_is_told_the_setting_and_then_the_images_of_each_pass(run):
    program = """
import json
print(json.dumps({"threads": json.loads(input())["batch"]}))
while True: print(json.dumps({"images": json.loads(input())}), flush=True)
"""
    with run(program) as method:
        assert (method.threads, method.note) == (2, None)
        assert [method.measure(3), method.measure(4)] == [{"images": 3}, {"images": 4}]
    assert method._process.returncode


def test_a_note_is_kept_and_ends_the_measurements(run):
    with run("""input(); print('{"note": "not installed"}')""") as method:
        assert (method.note, method.threads) == ("not installed", None)
        assert method.measure(3) is None


def test_an_error_of_the_method_is_raised(run):
    with pytest.raises(LosaError, match="no such backbone"):
        run("""input(); print('{"error": "no such backbone"}')""")


def test_a_killed_process_is_a_note(run):
    program = "import os; input(); print('{\"threads\": 1}', flush=True); input(); os.kill(os.getpid(), 9)"
    with run(program) as method:
        assert method.measure(3) is None
        assert method.note == "killed, most likely because memory is short"
        assert method.measure(3) is None


def test_a_bug_shows_what_the_process_printed_last(run):
    with pytest.raises(RuntimeError, match=r"a method failed:\n(.*\n)*ValueError: odd"):
        run("input(); raise ValueError('odd')")
