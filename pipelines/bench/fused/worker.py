"""One measurement in a process of its own, whose peak memory includes no other measurement.

``python -m losa.pipelines.bench.fused.worker '<setting as JSON>'`` prints a line of JSON: the result of
`measure`, ``{"fits": false}`` without enough memory, or ``{"error": message}``. With
``{"matmul": dtype, ...}`` it prints a `MatrixRate`.
"""

import contextlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from losa.adapt.training.working_set import peak_bytes
from losa.cache_format import LosaError
from losa.cache_format.common.timing import timed_calls
from losa.pipelines.bench.fused.counts import count_launches
from losa.pipelines.bench.fused.methods import METHODS, make_batch
from losa.pipelines.bench.fused.setting import Setting
from losa.pipelines.bench.matrix_rate import measure_matrix_rate
from losa.pipelines.bench.peak_memory import PeakMemory

UNTIMED_ON_GPU = 6
"""Steps before the timed ones on a GPU: libraries choose their kernels, and one step is recorded."""
COUNTED_AS = 8
"""Steps whose time must be left for measuring one step's memory and counting its launches."""
FAILED_ALLOCATIONS = ("not enough memory", "can't allocate memory", "out of memory")


def measure(setting: Setting) -> dict[str, Any]:
    """Time the steps of a method and measure their memory.

    Returns:
        - ``seconds`` of each step after a first one. Of the first one if there was no time for another;
        - ``peak_bytes`` that the process took after the batch was made: parameters, the optimiser's state,
          the steps' tensors, and what allocators and libraries kept. None if the system does not report it;
        - ``tensor_bytes``: the most that the tensors of a later step hold together. None if there was no time
          for that step, and on a GPU, where ``peak_bytes`` is that of tensors;
        - ``dispatches`` and ``kernels`` of a later step, see `count_launches`; None without time for it.
    """
    _warm_up(setting)
    inputs, labels = make_batch(setting)
    memory = PeakMemory(setting.device)
    step = METHODS[setting.method](setting, inputs, labels)
    on_gpu = setting.device.startswith("cuda")
    first = UNTIMED_ON_GPU if on_gpu else 1
    found = timed_calls(step, most=first + setting.steps, seconds=setting.seconds, device=setting.device)
    peak = memory.taken()
    # The steps that count operations take several times as long.
    time_is_left = sum(found) + COUNTED_AS * found[-1] <= setting.seconds
    counts = count_launches(step, setting.device) if time_is_left else None
    return {
        "seconds": found[first:] or found[-1:],
        "peak_bytes": peak,
        "tensor_bytes": peak_bytes(step, setting.device) if time_is_left and not on_gpu else None,
        "dispatches": None if counts is None else counts.dispatches,
        "kernels": None if counts is None else counts.kernels,
    }


def _warm_up(setting: Setting) -> None:
    """Run small steps of the same method, to load modules, libraries and threads, which take memory once."""
    small = replace(setting, sites=2, depth=2, tokens=17, width=64, batch=4, members=1, micro_batch_size=None)
    step = METHODS[small.method](small, *make_batch(small))
    step()
    step()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    threads = request.get("threads")
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if "matmul" in request:
            return asdict(measure_matrix_rate(request["matmul"], request["device"]))
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
    """Answer the request on the command line."""
    with contextlib.suppress(OSError):
        # If memory runs out all the same, the system kills this process before any other.
        Path("/proc/self/oom_score_adj").write_text("1000")
    print(json.dumps(_answer(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
