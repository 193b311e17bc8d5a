"""Tiny caches to inspect, merge and convert."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TINY = Path(__file__).parents[2] / "cache_format" / "tiny_cache.py"


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module ``tiny_cache``."""
    if "tiny_cache" not in sys.modules:
        # pytest's import mode importlib leaves that folder out of sys.path.
        spec = importlib.util.spec_from_file_location("tiny_cache", TINY)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["tiny_cache"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["tiny_cache"])
    return sys.modules["tiny_cache"]
