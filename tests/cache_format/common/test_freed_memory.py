"""What the C library does with freed memory, in processes of their own: others have freed memory before."""

import ctypes
import textwrap

import pytest

from losa.cache_format.common import freed_memory
from losa.cache_format.common.freed_memory import freed_memory_kept

needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
PRELUDE = """
import resource
from pathlib import Path
import torch
from losa.cache_format.common.freed_memory import freed_memory_kept

NUMBERS = 2**24  # 64 MB, which glibc gives back at once by default

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(NUMBERS).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])
"""


@pytest.fixture
def check(run_alone):
    """``check(program)``: run a program in a process of its own; its assertions must hold."""

    def check(program):
        found = run_alone(PRELUDE + textwrap.dedent(program))
        assert found.returncode == 0, found.stderr

    return check


@needs_glibc
def test_what_is_freed_serves_again_and_is_given_back_at_the_end(check):
    check(
        """
        torch.zeros(NUMBERS)
        before = resident_pages()
        with freed_memory_kept("cpu"):
            first = new_pages()
            # A small block may have gone into what was freed: the next large one is then beside it, once
            # now, and once later.
            new_pages()
            later = [new_pages() for _ in range(5)]
            kept = resident_pages()
        assert sorted(later)[-2] < first / 2, (first, later)
        assert kept - before > NUMBERS * 4 / 4096 / 2, (before, kept)
        assert resident_pages() < kept - NUMBERS * 4 / 4096 / 2, (kept, resident_pages())
        """
    )


@needs_glibc
def test_an_error_gives_it_back_too(check):
    check(
        """
        try:
            with freed_memory_kept("cpu"):
                torch.zeros(NUMBERS).add_(1)
                kept = resident_pages()
                raise KeyError
        except KeyError:
            assert resident_pages() < kept - NUMBERS * 4 / 4096 / 2, (kept, resident_pages())
        """
    )


def test_memory_of_a_gpu_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(freed_memory, "_set", lambda *_: pytest.fail("glibc was told to keep memory"))
    with freed_memory_kept("cuda:0"):
        pass


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda _: object())
    with freed_memory_kept("cpu"):
        pass
