"""Processes that answer, fail, are killed or hang, and measurements that are found again."""

import shutil
import sys
from dataclasses import replace

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.report.efficiency import measurements as module
from losa.pipelines.report.efficiency.measurements import Measurement, Measurements, refuse_failures

FIGURES = "print('{\"needed_bytes\": 5}'); print('{\"gflops\": 2.5}')"


@pytest.fixture
def measurements(tmp_path):
    return Measurements(records=TrainingRecords(tmp_path / "measurements"), around={"machine": "mine"})


@pytest.fixture
def process(monkeypatch):
    """``process(program)``: the program that measures."""

    def program(text):
        monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", text))

    return program


def test_figures_are_kept_and_found_again(measurements, process, setting, tmp_path):
    process(FIGURES)
    made = setting("live", "lora", checkpointing=True)
    assert measurements.measure(made) == Measurement(setting=made, figures={"gflops": 2.5})
    (file,) = (tmp_path / "measurements").iterdir()
    assert file.name.startswith("live-lora-checkpointing-")
    process("raise SystemExit(1)")
    assert measurements.measure(made).figures == {"gflops": 2.5}
    patient = setting("live", "lora", checkpointing=True, seconds=7.0, cache="elsewhere")
    assert measurements.measure(patient).figures == {"gflops": 2.5}
    for other in (setting("live", "lora"), setting("live", "lora", checkpointing=True, rank=3)):
        assert measurements.measure(other).failed


def test_another_machine_and_the_wish_for_it_measure_anew(measurements, process, setting):
    process(FIGURES)
    made = setting("live", "lora")
    measurements.measure(made)
    process("print('{\"gflops\": 3.0}')")
    elsewhere = Measurements(records=measurements.records, around={"machine": "other"})
    again = Measurements(records=measurements.records, around=measurements.around, again=True)
    for different in (elsewhere, again, measurements):
        assert different.measure(made).figures == {"gflops": 3.0}


def test_the_extraction_is_found_as_long_as_its_cache_is_there(
    measurements, process, setting, extracted, tmp_path
):
    shutil.copytree(extracted / "cache", tmp_path / "cache")
    process("print('{\"seconds\": 5.0}')")
    assert measurements.measure(setting("extraction", "extraction")).figures == {"seconds": 5.0}
    process("print('{\"seconds\": 6.0}')")
    other = setting("extraction", "extraction", rank=3, batch=2, steps=9, targets=["fc1"], micro_batch=1)
    assert measurements.measure(other).figures == {"seconds": 5.0}
    assert measurements.measure(replace(other, codec="int4")).figures == {"seconds": 6.0}
    (tmp_path / "cache/manifest.json").unlink()
    assert measurements.measure(other).figures == {"seconds": 6.0}


@pytest.mark.parametrize(
    ("program", "note", "failed"),
    [
        ("print('{\"needed_bytes\": 5000}'); print('{\"fits\": false}')", "does not fit (5.0 kB)", False),
        ("print('{\"fits\": false}')", "does not fit (7.0 GB are free)", False),
        (
            "import os; print('{\"needed_bytes\": 6000}', flush=True); os.kill(os.getpid(), 9)",
            "does not fit (6.0 kB)",
            False,
        ),
        ('print(\'{"error": "no cls token"}\')', "no cls token", True),
        ("raise ValueError('a bug')", "ValueError: a bug", True),
        ("raise SystemExit(3)", "exit code 3", True),
    ],
)
def test_why_there_are_no_figures(measurements, process, setting, monkeypatch, program, note, failed):
    monkeypatch.setattr(module, "free_on", lambda device: 7_000_000_000)
    process(program)
    found = measurements.measure(setting("live", "lora"))
    assert (found.note, found.failed, found.figures) == (note, failed, {})
    process(FIGURES)
    assert measurements.measure(setting("live", "lora")).note is None  # it is tried again


def test_a_process_that_does_not_end_is_stopped(measurements, process, setting, monkeypatch):
    monkeypatch.setattr(module, "START_SECONDS", 0.1)
    process("import time; time.sleep(60)")
    found = measurements.measure(setting("live", "lora", seconds=0.05))
    assert found.note == "stopped after 0 s (--seconds 0.05)"
    assert found.failed


def test_failures_are_told_and_memory_is_no_failure(measured):
    fits = [measured("live", "full"), measured("live", "lora", note="does not fit (5 GB)")]
    refuse_failures(fits)
    with pytest.raises(LosaError, match=r"2 of 4 measurements failed, the first of them \(bitfit\): broken"):
        refuse_failures([*fits, measured("live", "bitfit", note="broken"), measured("live", "x", note="y")])
