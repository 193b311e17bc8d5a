"""Each kind of measurement on a toy transformer: what the figures are, not how large their times."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from losa.cache_format import Cache
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract
from losa.pipelines.report.efficiency import cached, extracting, live, worker
from losa.pipelines.report.efficiency.comparison import LIVE_METHODS

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")
TRAINING = {
    "parameters",
    "head_parameters",
    "step_seconds",
    "step_images",
    "micro_batch",
    "peak_bytes",
    "threads",
}
INFERENCE = {"images_per_s", "gflops"}
step_seconds = cached._step_seconds


def answer(setting):
    """The last line of a measurement in this process, which must be its figures."""
    *_, last = worker.answers(setting)
    assert "error" not in last
    assert last.get("fits", True)
    return last


@pytest.fixture(scope="module")
def cache(leaves, tmp_path_factory):
    """A cache of the images at all sites."""
    folder = tmp_path_factory.mktemp("caches") / "cache"
    extract(
        ExtractConfig(
            dataset=DatasetConfig(kind="lists", name="leaves", root=str(leaves)),
            backbone=BackboneConfig(name="test_vit", pretrained=False),
            cache=str(folder),
            splits=["train800val200"],
            workers=0,
            device="cpu",
        )
    )
    return str(folder)


def test_the_extraction_tells_time_memory_and_bytes(setting):
    made = setting("extraction", "extraction")
    found = answer(made)
    split = Cache(made.cache).split("train800val200")
    assert found["images"] == len(split) == 10
    assert found["cache_bytes"] == 10 * split.image_bytes
    assert found["seconds"] > 0


def test_the_time_of_a_resumed_extraction_is_that_of_all_images(setting, monkeypatch):
    made = setting("extraction", "extraction")
    monkeypatch.setattr(extracting, "extract", lambda config: replace(extract(config), images=4, seconds=2.0))
    assert answer(made)["seconds"] == 2.0 * 10 / 4


def test_an_extraction_that_was_finished_before_is_made_again(setting, monkeypatch):
    made = setting("extraction", "extraction")
    runs = []

    def spied(config):
        runs.append(extract(config))
        return runs[-1]

    monkeypatch.setattr(extracting, "extract", spied)
    answer(made)
    found = answer(made)
    assert [run.images for run in runs] == [10, 0, 10]
    assert found["seconds"] == runs[-1].seconds


@pytest.mark.parametrize("side", ["linear", "losa"])
def test_a_side_network_is_trained_as_by_losa_adapt_and_follows_the_backbone(
    setting, cache, side, monkeypatch
):
    trainings = []

    def spied(prepared, setting, *, steps):
        trainings.append(steps)
        return step_seconds(prepared, setting, steps=steps)

    monkeypatch.setattr(cached, "_step_seconds", spied)
    found = answer(setting("cache", side, cache=cache))
    assert found.keys() == TRAINING | INFERENCE | {"cache_bytes"}
    assert len(found["step_seconds"]) == 2
    assert trainings == [1, 3]
    sites = Cache(cache).sites[-1:] if side == "linear" else None
    assert found["cache_bytes"] == 10 * Cache(cache).split("train800val200", sites).image_bytes
    classifiers = 2 if side == "losa" else 1  # LoSA has a probe beside its layers
    assert found["head_parameters"] == classifiers * 65 * 2
    assert (found["parameters"] > found["head_parameters"]) == (side == "losa")
    bare = answer(setting("backbone", "backbone"))
    assert bare.keys() == INFERENCE
    assert found["gflops"] > bare["gflops"]


def test_a_slow_side_network_takes_the_steps_for_which_there_is_time(setting, cache, monkeypatch):
    taken = []

    def slow(prepared, setting, *, steps):
        taken.append(steps)
        trainer, _ = step_seconds(prepared, setting, steps=steps)
        return trainer, [7.0] * steps

    monkeypatch.setattr(cached, "_step_seconds", slow)
    found = answer(setting("cache", "linear", cache=cache, seconds=20.0, steps=10))
    assert taken == [1, 2]
    assert found["step_seconds"] == [7.0]


@pytest.mark.parametrize("method", LIVE_METHODS)
def test_a_method_is_trained_through_the_live_backbone_and_used(setting, method):
    pytest.importorskip("peft")
    plain, checkpointing = (
        list(worker.answers(setting("live", method, checkpointing=again))) for again in (False, True)
    )
    for needed, found in (plain, checkpointing):
        assert needed["needed_bytes"] > 0
        assert found.keys() == TRAINING | INFERENCE
        assert len(found["step_seconds"]) == 2
        assert found["micro_batch"] == 4
        assert found["head_parameters"] == 65 * 2
    assert plain[1]["parameters"] == checkpointing[1]["parameters"] > 65 * 2
    with_head = answer(setting("backbone", "backbone"))["gflops"] + 2 * 64 * 2 / 1e9
    for _, found in (plain, checkpointing):
        if method == "adapter":  # the only one that is not in the weights at last
            assert found["gflops"] > with_head
        else:
            assert found["gflops"] == pytest.approx(with_head, rel=1e-9)
    assert checkpointing[0]["needed_bytes"] < plain[0]["needed_bytes"]


def test_micro_batches_are_what_is_computed_at_once(setting):
    needed, found = worker.answers(setting("live", "full", micro_batch=1))
    assert found["micro_batch"] == 1
    whole, _ = worker.answers(setting("live", "full"))
    assert needed["needed_bytes"] < whole["needed_bytes"]


def test_what_needs_more_memory_than_there_is_is_not_trained(setting, monkeypatch):
    monkeypatch.setattr(live, "free_on", lambda device: 1000)
    needed, last = worker.answers(setting("live", "full"))
    assert needed["needed_bytes"] > 1000
    assert last == {"fits": False}


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_runs_out_is_told(setting, monkeypatch, error):
    def fails(_setting):
        raise error
        yield

    monkeypatch.setitem(worker.MEASURES, "live", fails)
    assert list(worker.answers(setting("live", "full"))) == [{"fits": False}]


def test_what_a_user_can_correct_is_told(setting, monkeypatch):
    (found,) = worker.answers(setting("live", "full", data="nowhere"))
    assert "nowhere" in found["error"]
    (found,) = worker.answers(setting("live", "full", checkpointing=True, backbone="test_convnext"))
    assert "no cls token" in found["error"]


def test_the_process_prints_lines_of_json(setting, run_alone):
    request = json.dumps(asdict(setting("live", "bitfit", threads=1)))
    as_main = f"import runpy; runpy.run_module({worker.__name__!r}, run_name='__main__')"
    done = run_alone(as_main, request)
    assert done.returncode == 0, done.stderr
    needed, found = map(json.loads, done.stdout.splitlines())
    assert needed.keys() == {"needed_bytes"}
    assert found["threads"] == 1
    assert found["peak_bytes"] is None or found["peak_bytes"] > 0
