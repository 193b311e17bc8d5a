"""The compiled kernels of each instruction set that this processor has."""

import pytest
import torch

from losa.adapt.kernels import library
from losa.adapt.kernels.compiling import LEVELS, architecture, library_path
from losa.adapt.kernels.library import Kernels, load_kernels


@pytest.fixture(params=[level for levels in LEVELS.values() for level in levels])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An instruction set whose kernels are used; torch knows those that the processor has."""
    level: str = request.param
    if level not in LEVELS.get(architecture(), {}) or not library_path(level).exists():
        pytest.skip("compiled for another architecture, or not at all")
    capabilities = {"x86-64-v4": {"AVX512"}, "x86-64-v3": {"AVX512", "AVX2"}}.get(level)
    if capabilities is not None and torch.backends.cpu.get_cpu_capability() not in capabilities:
        pytest.skip("the processor does not have it")
    kernels = library.open_kernels(level)
    monkeypatch.setattr(library, "load_kernels", lambda: kernels)
    return level


@pytest.fixture
def kernels() -> Kernels:
    """The kernels that are used here."""
    kernels = load_kernels()
    if isinstance(kernels, str):
        pytest.skip(kernels)
    return kernels
