import numpy as np
import pytest

from losa.pipelines.bench import resident_memory
from losa.pipelines.bench.resident_memory import peak_resident_bytes, reset_peak, resident_bytes

BYTES = 64 * 2**20


def test_the_peak_is_kept_until_it_is_reset():
    np.ones(BYTES, np.uint8)
    assert peak_resident_bytes() > resident_bytes() + BYTES / 2
    if not reset_peak():
        pytest.skip("this system does not reset the peak")
    assert peak_resident_bytes() < resident_bytes() + BYTES / 2


def test_a_system_that_does_not_tell_has_no_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(resident_memory, "Path", lambda path: tmp_path / "none" / path.strip("/"))
    assert (resident_bytes(), peak_resident_bytes(), reset_peak()) == (None, None, False)
