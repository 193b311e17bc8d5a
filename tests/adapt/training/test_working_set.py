import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from losa.adapt import SideNetwork
from losa.adapt.training.working_set import (
    CPU_MICRO_BATCH_BYTES,
    FREE_MEMORY_DIVISOR,
    PARAMETER_COPIES,
    choose_micro_batch_size,
    largest_that_fits,
    members_at_once,
    peak_bytes,
)

KIB = 1024


def zeros(kib: int) -> torch.Tensor:
    return torch.zeros(kib * KIB // 4)


class TestPeakBytes:
    def test_of_what_is_held_at_once(self) -> None:
        def step() -> None:
            first, second = zeros(3), zeros(5)
            del first
            third = zeros(1)
            del second, third

        assert peak_bytes(step, "cpu") == 8 * KIB

    def test_of_what_is_held_one_after_the_other(self) -> None:
        def step() -> None:
            for kib in (2, 7, 4):
                kept = zeros(kib)
                del kept

        assert peak_bytes(step, "cpu") == 7 * KIB

    def test_what_stood_before_does_not_count(self) -> None:
        before = zeros(64)

        def step() -> torch.Tensor:
            before.view(-1, 4).mul_(2)
            return before[: KIB // 4] + 1

        assert peak_bytes(step, "cpu") == KIB

    def test_a_view_is_no_copy(self) -> None:
        assert peak_bytes(lambda: zeros(4).view(2, -1)[0].reshape(-1, 2).mT, "cpu") == 4 * KIB

    def test_of_what_autograd_keeps(self) -> None:
        x = zeros(8).requires_grad_()
        with torch.no_grad():
            assert peak_bytes(lambda: x.exp().mul(2).cos(), "cpu") == 16 * KIB
        # Results of exp and mul are kept for the backward pass, where gradients come on top.
        assert peak_bytes(lambda: x.exp().mul(2).cos(), "cpu") == 24 * KIB
        assert peak_bytes(lambda: x.exp().mul(2).cos().sum().backward(), "cpu") > 24 * KIB

    def test_the_same_twice(self) -> None:
        def step() -> None:
            (zeros(8).requires_grad_().exp() * 2).sum().backward()

        first = peak_bytes(step, "cpu")
        gc.collect()
        assert peak_bytes(step, "cpu") == first

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_on_a_gpu(self) -> None:
        before = torch.zeros(KIB, device="cuda")
        found = peak_bytes(lambda: before.repeat(KIB) + 1, "cuda")
        assert 8 * KIB * KIB <= found < 10 * KIB * KIB


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``free(number)``: so many bytes are."""
    return lambda number: monkeypatch.setattr("losa.adapt.free_memory.free_in_ram", lambda: number)


class TestMicroBatchSize:
    @staticmethod
    def step(count: int) -> None:
        """Ten KiB whatever comes, and four for every image."""
        kept = zeros(10 + 4 * count)
        del kept

    @pytest.mark.parametrize(
        ("room", "expected"), [(14, 1), (17, 1), (18, 2), (22, 2), (50, 10), (10**6, 20), (0, 1)]
    )
    def test_what_memory_holds(self, room: int, expected: int, free: Callable[[int], None]) -> None:
        free(FREE_MEMORY_DIVISOR * room * KIB)
        assert choose_micro_batch_size(self.step, 20, "cpu") == expected

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
    def test_never_more_than_the_batch(self, batch_size: int, free: Callable[[int], None]) -> None:
        free(2**40)
        assert choose_micro_batch_size(self.step, batch_size, "cpu") == batch_size

    @pytest.mark.parametrize(("batch_size", "expected"), [(50, 10), (48, 12), (53, 12), (36, 12), (64, 8)])
    def test_micro_batches_are_equal_if_that_is_not_less_than_half(
        self, batch_size: int, expected: int, free: Callable[[int], None]
    ) -> None:
        free(FREE_MEMORY_DIVISOR * (10 + 4 * 12) * KIB)
        assert choose_micro_batch_size(self.step, batch_size, "cpu") == expected

    def test_a_cpu_takes_no_more_than_its_caches(self, free: Callable[[int], None]) -> None:
        free(2**50)
        found = choose_micro_batch_size(
            lambda count: torch.empty(count * 2**20, dtype=torch.uint8), 10**6, "cpu"
        )
        assert found == CPU_MICRO_BATCH_BYTES // 2**20

    def test_three_that_do_not_fit_are_one(self, free: Callable[[int], None]) -> None:
        def step(count: int) -> None:
            if count > 1:
                raise torch.OutOfMemoryError("no memory")

        free(2**40)
        assert choose_micro_batch_size(step, 20, "cpu") == 1

    def test_steps_of_one_size_are_no_division_by_zero(self, free: Callable[[int], None]) -> None:
        free(2**40)
        assert choose_micro_batch_size(lambda count: zeros(1), 8, "cpu") == 8


class TestLargestThatFits:
    @pytest.mark.parametrize(("room", "expected"), [(10**6, 12), (58, 12), (57, 11), (14, 1), (0, 1)])
    def test_all_of_the_memory_counts(self, room: int, expected: int, free: Callable[[int], None]) -> None:
        free(room * KIB)
        assert largest_that_fits(TestMicroBatchSize.step, 12, "cpu") == expected


class TestMembersAtOnce:
    def test_a_step_that_does_not_fit_leaves_one(
        self, make_network: Callable[..., SideNetwork], free: Callable[[int], None], monkeypatch: Any
    ) -> None:
        def failing(*arguments: Any) -> None:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

        free(2**40)
        network = make_network("linear").float()
        monkeypatch.setattr(network, "forward", failing)
        assert members_at_once([network], "cpu", 0) == 1

    def test_follows_from_memory(
        self, make_network: Callable[..., SideNetwork], free: Callable[[int], None]
    ) -> None:
        free(2**30)

        def networks(*ranks: int) -> list[SideNetwork]:
            return [make_network("losa", rank=rank).float() for rank in ranks]

        fewer = members_at_once(networks(64), "cpu", 0)
        assert members_at_once(networks(1), "cpu", 0) > fewer > 1
        assert members_at_once(networks(1, 64), "cpu", 0) == fewer
        assert members_at_once(networks(64), "cpu", 2**25) == 2**30 // FREE_MEMORY_DIVISOR // 2**25 - 1
        parameters = sum(value.nbytes for value in networks(64)[0].parameters())
        assert fewer < 2**30 // FREE_MEMORY_DIVISOR // (PARAMETER_COPIES * parameters)

    def test_one_is_always_tried(
        self, make_network: Callable[..., SideNetwork], free: Callable[[int], None]
    ) -> None:
        free(0)
        assert members_at_once([make_network("linear").float()], "cpu", 0) == 1
