import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from losa.adapt.free_memory import free_in_ram, free_on_gpu, is_out_of_memory

MIB = 2**20
AVAILABLE = 1000 * MIB
MEMINFO = f"MemTotal: 4096000 kB\nMemFree: 10 kB\nMemAvailable: {AVAILABLE // 1024} kB\nBuffers: 1 kB\n"


def system(root: Path, groups: str | None, files: dict[str, str]) -> Path:
    """A ``/`` with the files of the kernel that are read."""
    told = {"proc/meminfo": MEMINFO} | ({} if groups is None else {"proc/self/cgroup": groups})
    for name, text in {**told, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def version_2(limit: int | str, usage: int, cache: int = 0) -> dict[str, str]:
    return {
        "memory.max": f"{limit}\n",
        "memory.current": f"{usage}\n",
        "memory.stat": f"anon 5\nactive_file {cache // 2}\ninactive_file {cache // 2}\n",
    }


def version_1(limit: int, usage: int, cache: int = 0) -> dict[str, str]:
    return {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{usage}\n",
        "memory.stat": f"total_active_file {cache // 2}\ntotal_inactive_file {cache // 2}\n",
    }


def below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


JOB = "sys/fs/cgroup/slurm/job_7"
MEMORY = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param(None, {}, AVAILABLE, id="no control groups"),
        pytest.param("0::/\n", {}, AVAILABLE, id="the root group has no files"),
        pytest.param("0::/\n", below("sys/fs/cgroup", version_2("max", MIB)), AVAILABLE, id="no limit"),
        pytest.param(
            "0::/\n", below("sys/fs/cgroup", version_2(300 * MIB, 100 * MIB)), 200 * MIB, id="container"
        ),
        pytest.param(
            "0::/\n",
            below("sys/fs/cgroup", version_2(300 * MIB, 290 * MIB, 80 * MIB)),
            90 * MIB,
            id="file cache can be given up",
        ),
        pytest.param(
            "0::/slurm/job_7/step_0\n",
            below(JOB, version_2(400 * MIB, 100 * MIB)) | below(f"{JOB}/step_0", version_2("max", 0)),
            300 * MIB,
            id="limit of a parent",
        ),
        pytest.param(
            "0::/\n", below("sys/fs/cgroup", version_2(300 * MIB, 301 * MIB)), 0, id="more than the limit"
        ),
        pytest.param(
            "9:name=systemd:/x\n4:cpu,memory:/x\n0::/\n",
            below(f"{MEMORY}/x", version_1(300 * MIB, 100 * MIB, 10 * MIB)),
            210 * MIB,
            id="version 1",
        ),
        pytest.param(
            "4:memory:/docker/abc\n",
            below(MEMORY, version_1(300 * MIB, 100 * MIB)),
            200 * MIB,
            id="version 1, container that is named as outside",
        ),
        pytest.param(
            "4:memory:/x\n",
            below(f"{MEMORY}/x", version_1(2**63 - 4096, MIB)),
            AVAILABLE,
            id="version 1, no limit",
        ),
    ],
)
def test_the_tightest_limit_counts(
    groups: str | None, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert free_in_ram(system(tmp_path, groups, files)) == expected


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"),
    ],
    ids=str,
)
def test_memory_that_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_what_torch_and_numpy_raise_when_memory_runs_out() -> None:
    for allocate in (torch.empty, np.empty):
        with pytest.raises((RuntimeError, MemoryError)) as found:
            allocate(2**55)
        assert is_out_of_memory(found.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(errno.ENOSPC, "No space left")],
    ids=str,
)
def test_another_error(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_here_some_memory_is_free() -> None:
    assert MIB < free_in_ram() < 2**50


def test_what_torch_holds_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: ({1: 10, 3: 30}[index] * MIB, 80 * MIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 7 * MIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 2 * MIB)
    assert free_on_gpu("cuda") == 35 * MIB
    assert free_on_gpu("cuda:1") == 15 * MIB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_a_tensor_gives_back_is_free_again() -> None:
    before = free_on_gpu("cuda")
    held = torch.empty(256 * MIB, dtype=torch.uint8, device="cuda")
    assert before - free_on_gpu("cuda") >= 200 * MIB
    del held
    assert before - free_on_gpu("cuda") < 200 * MIB
