import ctypes
import resource
from pathlib import Path

import pytest
import torch

from losa.extract import freed_memory
from losa.extract.freed_memory import freed_memory_kept

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
NUMBERS = 2**24
"""64 MB, which glibc gives back at once by default."""


def _new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(NUMBERS).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_what_is_freed_serves_again_and_is_given_back_at_the_end():
    torch.zeros(NUMBERS)
    before = _resident_pages()
    with freed_memory_kept():
        first, second = _new_pages(), _new_pages()
        kept = _resident_pages()
    assert second < first / 2
    assert kept - before > NUMBERS * 4 / 4096 / 2
    assert _resident_pages() < kept - NUMBERS * 4 / 4096 / 2


def test_an_error_gives_it_back_too():
    with pytest.raises(KeyError), freed_memory_kept():
        torch.zeros(NUMBERS).add_(1)
        kept = _resident_pages()
        raise KeyError
    assert _resident_pages() < kept


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda _: object())
    with freed_memory_kept():
        pass
