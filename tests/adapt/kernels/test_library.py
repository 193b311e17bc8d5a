import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from losa.adapt.kernels import cpu_kernels, kernels_told, library
from losa.adapt.kernels.cpu_kernels import CpuKernels, in_threads


@pytest.fixture(autouse=True)
def _looks_again() -> Iterator[None]:
    library._load.cache_clear()
    yield
    library._load.cache_clear()


def test_the_kernels_are_told(kernels: CpuKernels) -> None:
    assert kernels_told("cpu") == f"compiled kernels ({kernels.target})"


def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSA_KERNELS", "off")
    assert kernels_told("cpu") == "torch, without compiled kernels: LOSA_KERNELS=off"


def test_an_installation_without_a_compiler_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(cpu_kernels, "library_path", lambda level: tmp_path / f"{level}.so")
    monkeypatch.setattr(cpu_kernels, "architecture", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert kernels_told("cpu").endswith("install losa again, with a C++ compiler")
    (tmp_path / "x86-64-v3.so").write_text("no library")
    assert "x86-64-v3.so cannot be loaded" in kernels_told_again()


def kernels_told_again() -> str:
    library._load.cache_clear()
    return kernels_told("cpu")


def test_an_old_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "architecture", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert kernels_told("cpu").endswith("there are none for x86_64 DEFAULT")


@pytest.mark.parametrize(("items", "work", "threads"), [(10, 10**9, 3), (2, 10**9, 2), (10, 10, 1)])
def test_items_are_divided(items: int, work: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    parts: list[tuple[int, int]] = []
    meeting = threading.Barrier(threads, timeout=20)

    def compute(first: int, last: int) -> int:
        meeting.wait()
        parts.append((first, last))
        return 0

    in_threads(compute, items, work)
    assert sorted(item for part in parts for item in range(*part)) == list(range(items))
    assert len(parts) == threads


def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    in_threads(lambda first, last: 0, 2, 10**9)
    child = os.fork()
    if not child:
        in_threads(lambda first, last: 0, 2, 10**9)
        os._exit(0)
    assert waited(child) == 0


def waited(child: int) -> int | None:
    """The exit code of a process that has half a minute."""
    ended: list[int] = []
    waiting = threading.Thread(target=lambda: ended.append(os.waitpid(child, 0)[1]), daemon=True)
    waiting.start()
    waiting.join(timeout=30)
    return ended[0] if ended else None


def test_an_error_of_a_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def failing_at(number: int) -> Callable[[int, int], int]:
        return lambda first, last: int(first == number)

    for number in (0, 5):
        with pytest.raises(MemoryError):
            in_threads(failing_at(number), 10, 10**9)
