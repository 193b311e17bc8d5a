"""One method in a process of its own, whose peak memory includes no other method.

``python -m losa.pipelines.bench.extraction.worker`` reads lines of JSON: first a `Setting`, then for each
pass its number of images. It answers each with a line of JSON: torch's number of ``threads`` once it is
ready, the result of `measure` for a pass, ``{"note": reason}`` if the method cannot run here, and
``{"error": message}`` for what the user can correct.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from losa.cache_format import LosaError
from losa.cache_format.common.timing import timed_calls
from losa.pipelines.bench.extraction import libraries, losa_methods, timm_methods
from losa.pipelines.bench.extraction.setting import Method, Setting, StartPass
from losa.pipelines.bench.resident_memory import peak_resident_bytes

METHODS: dict[Method, Callable[[Setting], StartPass]] = {
    "forward": timm_methods.forward,
    "losa": losa_methods.losa,
    "forward+decoding": timm_methods.forward_and_decoding,
    "losa+decoding": losa_methods.losa_and_decoding,
    "timm+npy": timm_methods.timm_and_npy,
    "timm+h5py": timm_methods.timm_and_h5py,
    "thingsvision": libraries.thingsvision,
    "kaiko-eva": libraries.kaiko_eva,
}
LIBRARIES: tuple[Method, ...] = ("thingsvision", "kaiko-eva")
"""Methods whose package may be missing, or not go with the other packages."""


def measure(start: StartPass, images: int, setting: Setting) -> dict[str, Any]:
    """Time a pass.

    Returns:
        - ``seconds``;
        - ``bytes_written`` that the pass left on the disk;
        - ``peak_bytes`` of the process's memory since its start, without its decoding processes; None if the
          system does not report it;
        - ``gpu_peak_bytes`` of tensors; None on a CPU.
    """
    folder = Path(tempfile.mkdtemp(dir=setting.folder))
    run = start(images, folder)
    before = _size(folder)
    (seconds,) = timed_calls(run, most=1, seconds=0, device=setting.device)
    written = _size(folder) - before
    shutil.rmtree(folder)
    on_gpu = setting.device.startswith("cuda")
    return {
        "seconds": seconds,
        "bytes_written": written,
        "peak_bytes": peak_resident_bytes(),
        "gpu_peak_bytes": torch.cuda.max_memory_allocated(setting.device) if on_gpu else None,
    }


def answers(requests: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The answers to the lines of JSON; the first one that has a note or an error is the last."""
    setting = Setting(**json.loads(next(requests)))
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    try:
        start = METHODS[setting.method](setting)
        yield {"threads": torch.get_num_threads()}
        for line in requests:
            yield measure(start, json.loads(line), setting)
    except LosaError as error:
        yield {"error": str(error)}
    except Exception as error:
        if setting.method not in LIBRARIES:
            raise
        yield {"note": f"{type(error).__name__}: {error}"}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Answer the requests on the standard input."""
    # Libraries print; what they say does not belong among the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for answer in answers(sys.stdin):
            print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
