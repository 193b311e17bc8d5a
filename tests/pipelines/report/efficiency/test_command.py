"""The command from the photographs to the page, with a toy transformer and measurements in this process."""

import json

import pytest

from losa.pipelines.report.efficiency import measurements as module
from losa.pipelines.report.efficiency import worker
from losa.pipelines.report.efficiency.measurements import Measurement


@pytest.fixture
def in_this_process(monkeypatch):
    """The settings that are measured, each in this process."""
    asked = []

    def ask(setting):
        asked.append(setting.method)
        *_, figures = worker.answers(setting)
        if "error" in figures:
            return Measurement(setting=setting, figures={}, note=figures["error"], failed=True)
        return Measurement(setting=setting, figures=figures)

    monkeypatch.setattr(module, "_ask", ask)
    return asked


def options(leaves, *others):
    fixed = (
        "--backbone test_vit --no-pretrained --out out --device cpu --batch 4 --steps 1 --epochs 2 --rank 2"
    )
    chosen = "--side losa --side linear --method bitfit --no-checkpointing"
    return ["efficiency", str(leaves), *fixed.split(), *chosen.split(), *others]


@pytest.mark.long
def test_the_command_measures_trains_and_writes_a_page_once(command, leaves, tmp_path, in_this_process):
    pytest.importorskip("altair")
    done = command(tmp_path, "losa-report", *options(leaves, "--train", "--lr", "bitfit=1e-2", "--json"))
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    rows = {row["method"]: row for row in content["rows"]}
    assert list(rows) == ["extraction", "backbone", "losa", "linear", "bitfit"]
    for name in ("losa", "linear", "bitfit"):
        assert 0 <= rows[name]["accuracy"] <= 1
        assert rows[name]["seconds"] == pytest.approx(2 * rows[name]["seconds_per_epoch"])
    assert rows["losa"]["cache_bytes"] > rows["linear"]["cache_bytes"] > 0
    assert rows["bitfit"]["cache_bytes"] is None
    written = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert written == {"report.html", "results.csv", "results.json", "table.md"}
    assert "Most accurate: " in (tmp_path / "out" / "report.html").read_text()
    assert in_this_process == list(rows)
    again = command(tmp_path, "losa-report", *options(leaves, "--train", "--lr", "bitfit=1e-2", "--json"))
    assert in_this_process == list(rows)
    assert json.loads(again.stdout)["rows"] == content["rows"]
    shown = command(tmp_path, "losa-report", *options(leaves))
    assert "Compared with bitfit:" in shown.stdout
    assert "report.html" in shown.stdout

    page = (tmp_path / "out/report.html").read_bytes()
    refused = command(tmp_path, "losa-report", "out")
    assert refused.returncode == 1
    assert "out holds what losa-report efficiency measured, and the page of it. The members" in refused.stderr
    assert (tmp_path / "out/report.html").read_bytes() == page
    assert command(tmp_path, "losa-report", "out/runs").returncode == 0


@pytest.mark.long
def test_a_failure_is_told_after_the_table(command, leaves, tmp_path, in_this_process):
    pytest.importorskip("altair")
    only = ("--targets", "nothing", "--method", "lora")
    done = command(tmp_path, "losa-report", *options(leaves, *only))
    assert done.returncode == 1
    assert "1 of 6 measurements failed, the first of them (lora): --targets nothing" in done.stderr
    assert "lora: --targets nothing" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("relay=1e-3", "--lr relay=1e-3: expected one of losa, linear, bitfit"),
        ("losa", "--lr losa: expected a number above 0, as in losa=1e-3"),
        ("losa=-1", "--lr losa=-1: expected a number above 0"),
    ],
)
def test_wrong_rates_are_refused(command, leaves, tmp_path, in_this_process, rate, message):
    pytest.importorskip("altair")
    done = command(tmp_path, "losa-report", *options(leaves, "--lr", rate))
    assert done.returncode == 1
    assert message in done.stderr
    assert not in_this_process


def test_a_wrong_list_to_score_is_refused_before_anything_is_measured(
    command, leaves, tmp_path, in_this_process
):
    pytest.importorskip("altair")
    for split, message in (("tset", "tset"), ("train800val200", "images of train800val200 are also in")):
        done = command(tmp_path, "losa-report", *options(leaves, "--train", "--test-split", split))
        assert done.returncode == 1
        assert message in done.stderr
    assert in_this_process == []
    assert not (tmp_path / "out").exists()
