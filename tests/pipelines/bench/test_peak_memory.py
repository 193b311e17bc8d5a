"""Memory of a piece of work: that of others, before it, does not count."""

from losa.pipelines.bench import peak_memory
from losa.pipelines.bench.peak_memory import PeakMemory

PROGRAM = """
import torch
from losa.pipelines.bench.peak_memory import PeakMemory

BYTES = 64 * 2**20
kept = torch.ones(BYTES, dtype=torch.uint8)
freed = [torch.ones(2**20, dtype=torch.uint8) for _ in range(128)]
del freed
memory = PeakMemory("cpu")
torch.ones(BYTES, dtype=torch.uint8)
found = memory.taken()
assert found is None or 0.9 * BYTES < found < 1.1 * BYTES, found
"""


def test_the_peak_is_that_of_the_work_though_its_memory_is_freed(run_alone):
    """In a process of its own, whose memory is known."""
    found = run_alone(PROGRAM)
    assert found.returncode == 0, found.stderr


def test_a_system_that_does_not_tell_has_no_figure(monkeypatch):
    monkeypatch.setattr(peak_memory, "reset_peak", lambda: False)
    assert PeakMemory("cpu").taken() is None
