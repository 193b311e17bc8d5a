import subprocess
import sys

from losa.pipelines.bench import resident_memory
from losa.pipelines.bench.resident_memory import peak_resident_bytes, reset_peak, resident_bytes

PROGRAM = """
import numpy as np
from losa.pipelines.bench.resident_memory import peak_resident_bytes, reset_peak, resident_bytes

BYTES = 64 * 2**20
np.ones(BYTES, np.uint8)
assert peak_resident_bytes() > resident_bytes() + BYTES / 2
if reset_peak():  # not every system can
    assert peak_resident_bytes() < resident_bytes() + BYTES / 2
"""


def test_the_peak_is_kept_until_it_is_reset():
    """In a process of its own, which has not freed memory that could serve again."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_a_system_that_does_not_tell_has_no_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(resident_memory, "Path", lambda path: tmp_path / "none" / path.strip("/"))
    assert (resident_bytes(), peak_resident_bytes(), reset_peak()) == (None, None, False)
