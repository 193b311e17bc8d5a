"""losa-bench extract: its rows and what it refuses; not the speeds."""

import json
from dataclasses import asdict
from importlib.util import find_spec
from typing import ClassVar

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.extraction import benchmark
from losa.pipelines.bench.extraction.benchmark import ExtractionBenchmark
from losa.pipelines.bench.extraction.process import MethodProcess
from losa.pipelines.bench.extraction.worker import answers

METHODS = ("forward", "losa+decoding", "thingsvision")
OPTIONS = (
    "--backbone test_vit --sites 2 --images 3 --batch 2 --size 40 --workers 0 --rounds 1 "
    "--method forward --method losa+decoding --method thingsvision"
)
KEYS = {
    "method",
    "images_per_s",
    "ratio_to_forward",
    "bytes_written",
    "peak_bytes",
    "gpu_peak_bytes",
    "dtype",
    "threads",
    "workers",
    "note",
}


class InThisProcess(MethodProcess):
    """Asks a worker in this process."""

    def __init__(self, setting):
        self.note = None
        self._requests = []
        self._answers = answers(iter(self._requests.pop, None))
        ready = self._ask(asdict(setting))
        self.threads = None if ready is None else ready["threads"]

    def close(self):
        pass

    def _answer(self, line):
        self._requests.append(line)
        return next(self._answers)


class Timed:
    """A process that takes the next of some times for each pass; without one, it fails."""

    seconds: ClassVar = {"forward": [9, 1, 2, 4], "losa": [9, 2, 2, 5], "kaiko-eva": [9, 1]}

    def __init__(self, setting):
        self.note, self.threads = None, 2
        self._seconds = iter(self.seconds[setting.method])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def measure(self, images):
        figures = {"bytes_written": images, "peak_bytes": 5, "gpu_peak_bytes": None}
        for seconds in self._seconds:
            return figures | {"seconds": seconds}
        self.note = "failed"
        return None


def test_the_command_says_what_it_measured(command, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MethodProcess", InThisProcess)
    done = command(tmp_path, "losa-bench", "extract", *OPTIONS.split(), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(row.keys() == KEYS for row in found["rows"])
    limit, losa, library = found["rows"]
    assert (limit["method"], losa["method"], library["method"]) == METHODS
    assert (limit["ratio_to_forward"], limit["bytes_written"]) == (1, 0)
    assert losa["images_per_s"] > 0
    assert losa["bytes_written"] > 3 * 2 * 101 * 64
    assert (library["note"] is None) == (find_spec("thingsvision") is not None)
    assert found["settings"]["backbone"] == "test_vit"
    assert found["machine"]["cores"] >= 1


def test_figures_are_medians_and_the_ratio_is_that_of_a_round(monkeypatch):
    monkeypatch.setattr(benchmark, "MethodProcess", Timed)
    methods = ("forward", "losa", "kaiko-eva")
    limit, losa, failed = ExtractionBenchmark(methods=methods, images=8, rounds=3).run()
    assert (limit["images_per_s"], limit["ratio_to_forward"]) == (4, 1)
    assert (losa["images_per_s"], losa["ratio_to_forward"]) == (4, 0.8)  # of 0.5, 1 and 0.8
    assert (failed["images_per_s"], failed["ratio_to_forward"], failed["note"]) == (None, None, "failed")


@pytest.mark.parametrize("methods", [("losa", "losa"), ("losa", "kaiko-eva")])
def test_without_the_limit_there_is_no_ratio(monkeypatch, methods):
    monkeypatch.setattr(benchmark, "MethodProcess", Timed)
    row, *others = ExtractionBenchmark(methods=methods, images=8, rounds=1).run()
    assert (row["images_per_s"], row["ratio_to_forward"]) == (4, None)
    assert len(others) == len(set(methods)) - 1


def test_if_the_limit_fails_the_others_keep_their_speeds(monkeypatch):
    monkeypatch.setattr(benchmark, "MethodProcess", Timed)
    monkeypatch.setitem(Timed.seconds, "forward", [9, 1])
    limit, losa = ExtractionBenchmark(methods=("forward", "losa"), images=8, rounds=3).run()
    assert (limit["images_per_s"], limit["note"]) == (None, "failed")
    assert (losa["images_per_s"], losa["ratio_to_forward"]) == (4, None)


def test_the_table_names_the_limit_and_what_is_missing(command, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MethodProcess", Timed)
    options = "--images 8 --rounds 3 --method forward --method losa --method kaiko-eva"
    done = command(tmp_path, "losa-bench", "extract", *options.split())
    assert done.returncode == 0, done.stderr
    assert "0.80" in done.stdout
    assert "kaiko-eva: failed" in done.stdout
    assert "2 threads" in done.stdout


def test_photographs_are_those_of_a_folder(tmp_path, monkeypatch):
    settings = []

    class Kept(Timed):
        def __init__(self, setting):
            super().__init__(setting)
            settings.append(setting)

    monkeypatch.setattr(benchmark, "MethodProcess", Kept)
    for number in range(3):
        (tmp_path / f"{number}.jpg").touch()
    ExtractionBenchmark(methods=("losa",), images=2, rounds=1, data=str(tmp_path)).run()
    assert settings[0].files == [str(tmp_path / "0.jpg"), str(tmp_path / "1.jpg")]
    with pytest.raises(LosaError, match="--data nowhere: there is no such folder"):
        ExtractionBenchmark(data="nowhere").run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("lsoa",)}, "--methods lsoa: .*did you mean 'losa'"),
        ({"codec": "int9"}, "--codec int9: expected one of"),
        ({"dtype": "half"}, "--dtype half: expected one of"),
        ({"images": 0}, "--images 0: expected 1 or more"),
        ({"workers": -1}, "--workers -1: expected 0 or more"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(LosaError, match=message):
        ExtractionBenchmark(**options)
