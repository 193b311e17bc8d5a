"""One measurement in a process of its own, so that its peak of memory is its own.

``python -m losa.pipelines.bench.fused.worker '<setting as JSON>'`` prints a line of JSON: `Measured`, or what
went wrong. With ``{"matmul": dtype, ...}`` it measures what the machine can do.
"""

import contextlib
import gc
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from losa.adapt.training.working_set import peak_bytes
from losa.cache_format import LosaError
from losa.pipelines.bench.fused.flops import matmul_rate, synchronise
from losa.pipelines.bench.fused.methods import METHODS, make_batch
from losa.pipelines.bench.fused.setting import Setting

FAILED_ALLOCATIONS = ("not enough memory", "can't allocate memory", "out of memory")


def measure(setting: Setting) -> dict[str, Any]:
    """``seconds`` of each step after a first one, ``peak_bytes`` and ``tensor_bytes``.

    The peak counts all that the process took after the batch stood: parameters, the optimiser's state, what
    the steps needed, and what allocators and libraries kept for themselves. It is None where the system does
    not tell. The second is the most that the tensors which a later step makes hold together.
    """
    _warm_up(setting)
    inputs, labels = make_batch(setting)
    gc.collect()
    before = _start_of_peak(setting.device)
    step = METHODS[setting.method](setting, inputs, labels)
    step()
    seconds = []
    for _ in range(setting.steps):
        synchronise(setting.device)
        start = time.perf_counter()
        step()
        synchronise(setting.device)
        seconds.append(time.perf_counter() - start)
    after = _peak(setting.device)
    return {
        "seconds": seconds,
        "peak_bytes": None if before is None or after is None else after - before,
        "tensor_bytes": peak_bytes(step, setting.device),
    }


def _warm_up(setting: Setting) -> None:
    """Modules, libraries and threads take memory once; a small step of the same method brings them all in."""
    small = replace(setting, sites=2, depth=2, tokens=17, width=64, batch=4, members=1, micro_batch_size=None)
    step = METHODS[small.method](small, *make_batch(small))
    step()
    step()


def _start_of_peak(device: str) -> int | None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _peak(device: str) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else _status("VmHWM")


def _status(field: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * 1024
    return None


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    threads = request.get("threads")
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if "matmul" in request:
            return {"rate": matmul_rate(request["matmul"], request["device"])}
        return measure(Setting(**request))
    except (MemoryError, torch.OutOfMemoryError):
        return {"fits": False}
    except LosaError as error:
        return {"error": str(error)}
    except RuntimeError as error:
        if any(text in str(error) for text in FAILED_ALLOCATIONS):
            return {"fits": False}
        raise


def main() -> None:
    """Entry point."""
    with contextlib.suppress(OSError):
        # If memory runs out after all, this process is to be killed, and none of its neighbours.
        Path("/proc/self/oom_score_adj").write_text("1000")
    print(json.dumps(_answer(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
