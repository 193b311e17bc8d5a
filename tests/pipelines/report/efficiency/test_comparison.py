"""What is measured, in which order, and which options are refused."""

from dataclasses import replace

import pytest

from losa.cache_format import LosaError
from losa.pipelines.report.efficiency import comparison as module
from losa.pipelines.report.efficiency.comparison import EfficiencyComparison


@pytest.fixture
def asked(monkeypatch, measured):
    """Settings that are measured: all succeed, unless a test puts their notes into ``notes``."""
    found = []

    class Recorder(module.Measurements):
        def measure(self, setting):
            found.append(setting)
            return measured(setting.kind, setting.method, note=notes.get(setting.method))

    notes = {}
    monkeypatch.setattr(module, "Measurements", Recorder)
    return found, notes


def names(settings):
    return [(one.kind, one.method, one.checkpointing) for one in settings]


def test_the_cache_comes_first_and_methods_come_with_checkpointing(comparison, asked):
    settings, _ = asked
    found = comparison.run()
    assert names(settings) == [
        ("extraction", "extraction", False),
        ("backbone", "backbone", False),
        ("cache", "linear", False),
        ("cache", "losa", False),
        ("live", "bitfit", False),
        ("live", "bitfit", True),
    ]
    assert len(found) == len(settings)
    assert {one.device for one in settings} == {"cpu"}
    assert comparison.images == 10


def test_each_is_measured_once_and_checkpointing_may_be_left_out(comparison, asked):
    settings, _ = asked
    replace(comparison, sides=["losa", "losa"], methods=["full", "full"], checkpointing=False).run()
    assert [one.method for one in settings] == ["extraction", "backbone", "losa", "full"]


def test_without_a_cache_the_live_methods_are_measured(comparison, asked):
    settings, notes = asked
    notes["extraction"] = "the disk is full"
    found = comparison.run()
    assert [one.kind for one in settings] == ["extraction", "backbone", "live", "live"]
    assert [one.note for one in found if one.setting.kind == "cache"] == [
        "there is no cache: extraction the disk is full"
    ] * 2


def test_another_cache_is_in_another_folder(comparison, asked, tmp_path):
    settings, _ = asked
    changes = [
        {},
        {"sites": 4},
        {"codec": "float16"},
        {"checkpoint": "w"},
        {"backbone": "test_vit2"},
        {"rank": 3},
    ]
    for change in changes:
        replace(comparison, **change).run()
    folders = [one.cache for one in settings if one.kind == "extraction"]
    assert len(set(folders)) == len(changes) - 1  # the rank has no part in it
    assert folders[0] == folders[-1]


def test_again_extracts_into_an_empty_folder(comparison, asked):
    settings, _ = asked
    comparison.run()
    cache = module.Path(settings[0].cache)
    cache.mkdir(parents=True)
    comparison.run()
    assert cache.exists()
    replace(comparison, again=True).run()
    assert not cache.exists()


def test_several_data_sets_are_refused(comparison, leaves, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text("0.png 0\n")
    with pytest.raises(LosaError, match="expected the folder of one data set, found one, two"):
        replace(comparison, data=str(tmp_path)).run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sides": ["lossa"]}, r"--side lossa: expected one of losa, .* did you mean 'losa'"),
        ({"methods": ["linear"]}, "--method linear: expected one of lora, bitfit, adapter, full"),
        ({"codec": "int2"}, "--codec int2: expected one of .*int8"),
        ({"dtype": "half"}, "--dtype half: expected one of float32, bfloat16"),
        ({"rank": 0}, "--rank 0: expected at least 1"),
        ({"epochs": 0}, "--epochs 0: expected at least 1"),
        ({"batch": -1}, "--batch -1: expected at least 1"),
        ({"micro_batch": 0}, "--micro-batch 0: expected at least 1"),
        ({"steps": 0}, "--steps 0: expected at least 1"),
        ({"threads": 0}, "--threads 0: expected at least 1"),
        ({"seconds": float("nan")}, "--seconds nan: expected more than 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(LosaError, match=message):
        EfficiencyComparison(data="data", backbone="test_vit", out="out", **options)
