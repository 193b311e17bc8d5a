"""Whole trainings are those of losa-adapt and of losa-bench live, of what fits into memory."""

from dataclasses import replace

import pytest
import torch

from losa.cache_format import LosaError
from losa.pipelines.report.efficiency import accuracies as module
from losa.pipelines.report.efficiency.accuracies import train_for_accuracy


@pytest.fixture
def threads():
    """The threads that each training computes with."""
    return {}


@pytest.fixture
def trained(monkeypatch, make_summary, threads):
    """What is trained: names and learning rates; ``fail`` holds those that fail."""
    done, fail = {}, set()

    def adapt_all(jobs):
        done.update({job.config.side: job.config.lr for job in jobs})
        threads.update({job.config.side: job.config.threads for job in jobs})
        return [
            LosaError("diverged")
            if job.config.side in fail
            else make_summary(job.config, accuracy={"test": 0.75})
            for job in jobs
        ]

    class Trainings:
        def __init__(self, **options):
            pass

        def result(self, configuration):
            done[configuration.method] = configuration.lr
            threads[configuration.method] = torch.get_num_threads()
            if configuration.method in fail:
                raise LosaError("too slow")
            return {"accuracy": None if configuration.method == "bitfit" else 0.5}

    monkeypatch.setattr(module, "adapt_all", adapt_all)
    monkeypatch.setattr(module, "Trainings", Trainings)
    monkeypatch.setattr(module, "extract_splits", lambda setting, splits: None)
    return done, fail


def test_what_fits_is_trained_once_at_its_rate(comparison, measured, trained):
    done, _ = trained
    found = train_for_accuracy(
        [
            measured("extraction", "extraction"),
            measured("backbone", "backbone"),
            measured("cache", "losa"),
            measured("live", "lora"),
            measured("live", "lora", checkpointing=True),
            measured("live", "full"),
            measured("live", "adapter", note="does not fit (5 GB)"),
            measured("live", "adapter", checkpointing=True),
        ],
        comparison,
        {"lora": 5e-4},
        "test",
    )
    assert found == {"losa": 0.75, "lora": 0.5, "full": 0.5}
    assert done == {"losa": 3e-3, "lora": 5e-4, "full": 1e-4}


def test_what_fails_has_no_accuracy_and_the_others_go_on(comparison, measured, trained, caplog):
    _, fail = trained
    fail |= {"losa", "full"}
    names = [("cache", "losa"), ("cache", "linear"), ("live", "full"), ("live", "bitfit"), ("live", "lora")]
    found = train_for_accuracy([measured(*name) for name in names], comparison, {}, "test")
    assert found == {"linear": 0.75, "lora": 0.5}
    assert "losa has no accuracy: diverged" in caplog.messages
    assert "full has no accuracy: too slow" in caplog.messages


@pytest.mark.parametrize("name", [("live", "full"), ("cache", "losa")])
def test_images_that_were_trained_on_are_not_scored(name, comparison, measured, trained):
    done, _ = trained
    with pytest.raises(LosaError, match="10 of 10 images of train800val200 are also in train800val200"):
        train_for_accuracy([measured(*name)], comparison, {}, "train800val200")
    assert done == {}


def test_nothing_is_trained_if_nothing_was_measured(comparison, measured, trained):
    wrong = replace(comparison, backbone="no_such_model")
    failed = measured("cache", "losa", note="timm has no such model")
    assert train_for_accuracy([failed], wrong, {}, "test") == {}


def test_trainings_compute_with_as_many_threads_as_the_measurements(comparison, measured, trained, threads):
    names = [("cache", "losa"), ("live", "lora")]
    train_for_accuracy([measured(*name) for name in names], replace(comparison, threads=3), {}, "test")
    assert threads == {"losa": 3, "lora": 3}
    assert torch.get_num_threads() == 1
