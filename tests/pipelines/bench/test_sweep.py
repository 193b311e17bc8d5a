"""losa-bench sweep in a tiny shape: what it says; not its speed."""

import json

import pytest

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


@pytest.mark.parametrize(("option", "value"), [("shape", "vitb"), ("compile", "yes")])
def test_wrong_options_are_refused(option, value):
    with pytest.raises(LosaError, match=f"--{option} {value}: expected one of "):
        SweepBenchmark(**{option: value})
