"""losa-bench sweep in a tiny shape: what it says; not its speed."""

import json
from types import SimpleNamespace

import pytest

from losa.adapt.members.summary import SharedPass
from losa.cache_format import LosaError
from losa.pipelines.bench import sweep
from losa.pipelines.bench.fused.setting import Shape
from losa.pipelines.bench.sweep import SweepBenchmark


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(sweep.SHAPES, "demo", Shape(2, 5, 8))


@pytest.mark.usefixtures("shapes_are_not_checked")
def test_the_command_says_what_it_measured(command, tmp_path):
    options = ["--shape", "demo", "--members", "4", "--side", "losa", "--side", "linear", "--images", "12"]
    options += ["--epochs", "2", "--batch", "5", "--device", "cpu", "--folder", str(tmp_path / "kept")]
    done = command(tmp_path, "losa-bench", "sweep", *options, "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["row"]
    assert row["seconds"] > row["train_seconds"] > 0
    assert row["step_seconds"] == pytest.approx(row["train_seconds"] / 6)
    assert (row["residency"], row["device"]) == ("stream", "cpu")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["sweep-int8-12-demo"]
    shown = command(tmp_path, "losa-bench", "sweep", *options).stdout
    assert (
        "4 members (losa, linear, rank 8), 12 images (demo, int8), 2 epochs, batch 5, float32 on cpu" in shown
    )


def test_members_differ():
    benchmark = SweepBenchmark(sides=("losa", "last"))
    configs = benchmark._configs(benchmark._noise(sweep.Path("there")))
    assert len({config.member_id for config in configs}) == 24
    assert sum(config.side == "last" for config in configs) == 12


WRONG = [("shape", "vitb"), ("compile", "yes"), ("codec", "int9"), ("dtype", "float16")]


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_wrong_options_are_refused(option, value):
    with pytest.raises(LosaError, match=f"--{option} {value}: expected one of "):
        SweepBenchmark(**{option: value})


def test_an_unknown_side_network_is_refused():
    with pytest.raises(LosaError, match=r"--side lossa: expected one of .*; did you mean 'losa'"):
        SweepBenchmark(sides=("last", "lossa"))


@pytest.mark.parametrize("option", ["--rank", "--batch"])
def test_numbers_out_of_range_are_refused(option, tmp_path, command):
    done = command(tmp_path, "losa-bench", "sweep", option, "0")
    assert done.returncode == 2
    assert f"Invalid value for '{option}'" in done.stderr


def test_the_peak_is_that_of_the_largest_pass(monkeypatch):
    def adapted(jobs):
        return [
            SimpleNamespace(
                train_seconds=1.0,
                residency="stream",
                device="cpu",
                shared_pass=SharedPass(members=1, seconds=1.0, peak_bytes=peak),
            )
            for _, peak in zip(jobs, (5, 7, 6), strict=True)
        ]

    monkeypatch.setattr(sweep, "adapt_all", adapted)
    row = SweepBenchmark(members=3, images=4, epochs=1, shape="demo").run()
    assert row["peak_bytes"] == 7
