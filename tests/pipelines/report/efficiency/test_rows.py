"""Costs of a training of all epochs, and when the cache pays, from made-up figures."""

import math

import pytest

from losa.pipelines.report.efficiency.rows import efficiency_rows, named, reference


@pytest.fixture
def rows(comparison, measured):
    """Rows by their names: 10 images, 3 epochs, batches of 4."""

    def make(*others, extraction=None):
        found = [
            measured("extraction", "extraction", note=extraction),
            measured("backbone", "backbone"),
            *others,
        ]
        return {named(row): row for row in efficiency_rows(found, comparison)}

    return make


def test_an_epoch_is_all_images_at_the_speed_of_the_median_step(rows, measured):
    losa = rows(measured("cache", "losa"))["losa"]
    assert losa["seconds_per_epoch"] == pytest.approx(0.5 / 4 * 10)
    assert losa["seconds"] == pytest.approx(3 * 1.25)
    assert losa["seconds_with_extraction"] == pytest.approx(3 * 1.25 + 5)
    assert losa["peak_bytes"] == 500_000
    assert losa["gflops"] == 2.5


def test_only_side_networks_need_the_extraction(rows, measured):
    found = rows(measured("live", "lora"))
    assert found["lora"]["seconds_with_extraction"] == found["lora"]["seconds"] == pytest.approx(15)
    assert found["extraction"]["seconds"] == 5
    assert found["extraction"]["seconds_with_extraction"] is None
    assert found["backbone"]["seconds"] is None


def test_side_networks_are_compared_with_lora(rows, measured):
    found = rows(measured("cache", "losa"), measured("live", "full"), measured("live", "lora"))
    losa = found["losa"]
    assert losa["faster"] == pytest.approx(4)
    assert losa["faster_with_extraction"] == pytest.approx(15 / 8.75)
    assert losa["of_memory"] == pytest.approx(0.25)
    assert losa["break_even"] == math.ceil(5 / (5 - 1.25))
    assert found["full"]["faster"] == pytest.approx(2 / 3)
    assert found["full"]["break_even"] is None
    assert found["backbone"]["faster"] is None


def test_a_side_network_that_is_not_faster_never_pays(rows, measured):
    found = rows(measured("cache", "last"), measured("live", "losa"))  # 1 s a step, and 0.5 s
    assert found["last"]["break_even"] == math.inf


def test_what_failed_has_a_note_and_no_figures(rows, measured):
    found = rows(measured("cache", "losa"), measured("live", "lora", note="does not fit (5 GB)"))
    assert found["lora"]["note"] == "does not fit (5 GB)"
    assert {
        value
        for name, value in found["lora"].items()
        if name not in ("method", "trained", "checkpointing", "note")
    } == {None}
    assert found["losa"]["faster"] is None
    assert found["losa"]["note"] is None


def test_without_the_extraction_the_steps_have_their_times(rows, measured):
    losa = rows(measured("cache", "losa"), measured("live", "lora"), extraction="failed")["losa"]
    assert losa["faster"] == pytest.approx(4)
    assert losa["seconds_with_extraction"] is losa["faster_with_extraction"] is losa["break_even"] is None


def test_the_reference_is_lora_without_checkpointing_or_the_first_method(comparison, measured):
    def chosen(*found):
        row = reference(efficiency_rows([measured("extraction", "extraction"), *found], comparison))
        return None if row is None else named(row)

    full, again = measured("live", "full"), measured("live", "lora", checkpointing=True)
    assert chosen(full, again, measured("live", "lora")) == "lora"
    assert chosen(full, again) == "full"
    assert chosen(again) == "lora, checkpointing"
    assert chosen(measured("cache", "losa")) is None
