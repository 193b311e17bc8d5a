"""Recorded steps compute what plain ones do; one that cannot be recorded is told. And a GPU against a CPU."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import (
    CachedActivations,
    FeatureSpec,
    LabelledActivations,
    LabelledImages,
    Trainer,
    make_group,
)
from losa.adapt.data.resident_activations import load_codes
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training import recorded_steps
from losa.adapt.training.losses import make_objective
from losa.adapt.training.recorded_steps import PLAIN_STEPS, RecordedSteps, refuse_impossible_compile
from losa.cache_format import Cache, LosaError
from losa.cache_format.identity import TokenLayout

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

EPOCHS = 4
OPTIONS = {"rank": 4, "heads": 2, "dropout": 0.3, "mixup": 0.4, "label_smoothing": 0.1, "bias": True}
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")


def gpu(test: Any) -> Any:
    """Mark a test that needs a CUDA device."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")(test))


def workspaces() -> int:
    """Bytes that libraries take for a stream that they have not seen, forwards and backwards."""
    before = torch.cuda.memory_allocated()
    with torch.cuda.stream(torch.cuda.Stream()):
        ones = torch.ones(8, 8, device="cuda", requires_grad=True)
        (ones @ ones).sum().backward()
    del ones
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated() - before


@pytest.fixture
def make_trainer(toy_cache: Any, make_config: Any, tmp_path: Path) -> Any:
    """``make_trainer(sides, device, place, recipe, **options)``: two members of each kind, on codes of int8.

    The 24 images make four steps, of which the last has three images.
    """

    def make(
        sides: tuple[str, ...],
        device: str,
        place: str = "stream",
        recipe: dict[str, Any] | None = None,
        micro_batch_size: int | None = None,
        **options: Any,
    ) -> Trainer:
        made = replace(toy_cache, codec="int8", **(recipe or {}))
        folder = tmp_path / "cache"
        split = Cache(folder if folder.exists() else made.write(folder)).split("train")
        labels = split.labels("label")[:, None]
        source = CachedActivations(split, device)
        images = LabelledImages(np.arange(len(split)), labels)
        data = LabelledActivations(
            source=source if place == "stream" else load_codes(source, images.positions, place),
            images=images,
            sites=split.sites,
        )
        groups = []
        shared = {"epochs": EPOCHS, "batch_size": 7, "lr": 0.01}
        for side in sides:
            configs = [make_config(**(OPTIONS | shared | options), side=side, seed=seed) for seed in (0, 1)]
            sites = split.sites[-1:] if SIDE_NETWORKS[side].reads_last_site_only else split.sites
            features = FeatureSpec(sites=sites, tokens=made.tokens, width=made.width)
            numbers = range(2 * len(groups), 2 * len(groups) + 2)
            groups.append(make_group(numbers, configs, features, 3, device))
        objective = make_objective([3], labels, balanced=True, device=device)
        return Trainer(groups, data, objective, configs[0], micro_batch_size=micro_batch_size)

    return make


def losses(trainer: Trainer) -> np.ndarray:
    """Of every member, ``(members, steps)``."""
    epochs = [trainer.epoch(number) for number in range(EPOCHS)]
    return np.concatenate(
        [np.stack([epoch[number].step_losses for number in trainer.numbers]) for epoch in epochs], axis=1
    )


class TestWithoutAGpu:
    @pytest.mark.parametrize("option", ["auto", False])
    def test_a_cpu_computes_plain_steps(self, option: Any, make_trainer: Any) -> None:
        trainer = make_trainer(("linear",), "cpu", compile=option)
        refuse_impossible_compile(option, "cpu")
        assert np.isfinite(losses(trainer)).all()

    def test_what_cannot_be_is_refused(self) -> None:
        refuse_impossible_compile(True, "cuda:1")
        with pytest.raises(
            LosaError, match="compile=true: expected a CUDA device, found device=cpu: use dev"
        ):
            refuse_impossible_compile(True, "cpu")

    @pytest.fixture
    def fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A GPU on which no step can be recorded."""

        def fail(*arguments: Any, **options: Any) -> None:
            try:
                raise OUT_OF_MEMORY
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

        monkeypatch.setattr(recorded_steps, "is_cuda", lambda device: True)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", fail)

    @pytest.fixture
    def step(self, make_trainer: Any) -> tuple[Any, ...]:
        """A computation, a batch, its inputs, and a number of images."""
        trainer = make_trainer(("linear",), "cpu")
        (inputs,) = trainer._inputs([np.arange(7)], 0)
        return trainer._computation, trainer._data.source.read(np.arange(7)), inputs, 7

    def test_auto_falls_back_and_says_why(
        self, fails: None, step: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        computation, *rest = step
        recorded = RecordedSteps(computation, "auto", "cuda")
        with caplog.at_level(logging.WARNING):
            assert [recorded.of(*rest) for _ in range(PLAIN_STEPS + 3)] == [None] * (PLAIN_STEPS + 3)
        assert caplog.messages == [
            "compile=auto: a step could not be recorded, so all are computed as usual: CUDA out of memory. "
            "Tried to allocate 2 GiB"
        ]

    def test_true_is_an_error_that_says_why(self, fails: None, step: tuple[Any, ...]) -> None:
        computation, *rest = step
        recorded = RecordedSteps(computation, True, "cuda")
        for _ in range(PLAIN_STEPS):
            assert recorded.of(*rest) is None
        with pytest.raises(
            LosaError, match=r"compile=true: .* on cuda: CUDA out of memory.*Use compile=auto"
        ):
            recorded.of(*rest)

    def test_false_records_nothing(self, fails: None, step: tuple[Any, ...]) -> None:
        computation, *rest = step
        recorded = RecordedSteps(computation, False, "cuda")
        assert [recorded.of(*rest) for _ in range(PLAIN_STEPS + 1)] == [None] * (PLAIN_STEPS + 1)

    def test_a_copy_of_inputs_has_its_own_memory(self, step: tuple[Any, ...]) -> None:
        inputs = step[2]
        copied = inputs.copy()
        assert len(copied.tensors) == len(inputs.tensors) >= 4
        for mine, theirs in zip(copied.tensors, inputs.tensors, strict=True):
            assert torch.equal(mine, theirs)
            assert mine.data_ptr() != theirs.data_ptr()


class TestOnAGpu:
    @gpu
    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("side", SIDE_NETWORKS)
    def test_losses_are_those_of_the_cpu(self, side: str, compiled: bool, make_trainer: Any) -> None:
        assert torch.get_float32_matmul_precision() == "highest"
        expected = losses(make_trainer((side,), "cpu"))
        found = losses(make_trainer((side,), "cuda", compile=compiled))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    @gpu
    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    @pytest.mark.parametrize("place", ["stream", "ram", "gpu"])
    def test_recorded_steps_are_plain_ones(self, place: str, optimizer: str, make_trainer: Any) -> None:
        sides = tuple(SIDE_NETWORKS)
        plain = losses(make_trainer(sides, "cuda", place, compile=False, optimizer=optimizer))
        trainer = make_trainer(sides, "cuda", place, compile=True, optimizer=optimizer)
        np.testing.assert_allclose(losses(trainer), plain, rtol=1e-5, atol=1e-5)
        assert set(trainer._recorded._recordings) == {7, 3}

    @gpu
    @pytest.mark.parametrize("norm", ["layer", "none"])
    def test_with_other_norms(self, norm: str, make_trainer: Any) -> None:
        sides = ("losa", "relay")
        plain, recorded = (
            losses(make_trainer(sides, "cuda", compile=option, norm=norm)) for option in (False, True)
        )
        np.testing.assert_allclose(recorded, plain, rtol=1e-5, atol=1e-5)

    @gpu
    def test_bfloat16_is_close_to_float32(self, make_trainer: Any) -> None:
        sides = tuple(SIDE_NETWORKS)
        exact, rough = (losses(make_trainer(sides, "cuda", dtype=name)) for name in ("float32", "bfloat16"))
        np.testing.assert_allclose(rough, exact, rtol=0, atol=0.1)

    @gpu
    def test_those_that_are_kept_go_on(self, make_trainer: Any) -> None:
        found = {}
        for option in (False, True):
            trainer = make_trainer(("losa", "last"), "cuda", compile=option)
            trainer.epoch(0)
            trainer.epoch(1)
            trainer.keep([0, 3])
            found[option] = [trainer.epoch(number)[3].step_losses for number in (2, 3)]
        np.testing.assert_allclose(found[True], found[False], rtol=1e-5, atol=1e-5)

    @gpu
    @pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("place", ["stream", "gpu"])
    def test_a_step_does_not_wait(self, place: str, compiled: bool, make_trainer: Any) -> None:
        """Neither plain steps, after the first, nor recorded ones, after the recording."""
        trainer = make_trainer(tuple(SIDE_NETWORKS), "cuda", place, compile=compiled, batch_size=2)
        steps = trainer.steps_in(0)
        for _ in range(PLAIN_STEPS + 2):
            next(steps)
        try:
            torch.cuda.set_sync_debug_mode("error")
            assert len(list(steps)) == 12 - (PLAIN_STEPS + 2)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    @pytest.fixture
    def limit(self) -> Iterator[Any]:
        """``limit(bytes)``: torch gets so many bytes of the GPU, at most."""
        yield lambda size: torch.cuda.set_per_process_memory_fraction(
            size / torch.cuda.get_device_properties(0).total_memory
        )
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()

    @gpu
    @pytest.mark.parametrize("compiled", [False, "auto"])
    def test_memory_that_runs_out_gives_smaller_micro_batches(
        self, compiled: Any, limit: Any, make_trainer: Any
    ) -> None:
        options = {"recipe": {"width": 1024, "tokens": TokenLayout(cls=1, registers=0, grid=(14, 14))}}
        options |= {"batch_size": 24, "mixup": 0.0, "micro_batch_size": 24}
        sides = ("losa", "lst")
        first = make_trainer(sides, "cuda", compile=False, **options)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        expected = losses(first)
        peak = torch.cuda.max_memory_allocated()
        del first
        torch.cuda.empty_cache()
        trainer = make_trainer(sides, "cuda", compile=compiled, **options)
        limit(torch.cuda.memory_reserved() + workspaces() + (peak - before) // 2)
        found = losses(trainer)
        assert trainer.micro_batch_size < 24
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        scores = trainer.evaluate(trainer._data)
        assert all(each is not None for each in scores.values())
