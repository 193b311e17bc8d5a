"""One measurement in a process of its own, whose peak memory includes no other measurement.

``python -m losa.pipelines.report.efficiency.worker '<setting as JSON>'`` prints lines of JSON: perhaps
``{"needed_bytes": estimate}``; then the figures, ``{"fits": false}`` without enough memory, or
``{"error": message}``.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from losa.adapt.free_memory import is_out_of_memory
from losa.cache_format import LosaError
from losa.pipelines.report.efficiency.cached import measure_cached
from losa.pipelines.report.efficiency.extracting import measure_extraction
from losa.pipelines.report.efficiency.live import DoesNotFit, measure_backbone, measure_live
from losa.pipelines.report.efficiency.setting import Kind, Setting

MEASURES: dict[Kind, Callable[[Setting], Iterator[dict[str, Any]]]] = {
    "extraction": measure_extraction,
    "backbone": measure_backbone,
    "cache": measure_cached,
    "live": measure_live,
}


def answers(setting: Setting) -> Iterator[dict[str, Any]]:
    """The lines that the process prints."""
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    try:
        yield from MEASURES[setting.kind](setting)
    except LosaError as error:
        yield {"error": str(error)}
    except DoesNotFit:
        yield {"fits": False}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        yield {"fits": False}


def main() -> None:
    """Answer the request on the command line."""
    with contextlib.suppress(OSError):
        # If memory runs out all the same, the system kills this process before any other.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Libraries print; what they say does not belong among the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for answer in answers(Setting(**json.loads(sys.argv[1]))):
            print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
