"""The compiled kernels of each instruction set that this processor has, and those of its GPU."""

import pytest
import torch

from losa.adapt.kernels import library
from losa.adapt.kernels.compiling import LEVELS, architecture, library_path
from losa.adapt.kernels.cpu_kernels import CpuKernels, open_cpu_kernels
from losa.adapt.kernels.library import load_kernels

CPU = torch.device("cpu")
GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


@pytest.fixture(params=[*(level for levels in LEVELS.values() for level in levels), GPU])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device with kernels. A processor has those of one instruction set, if torch says that it has it."""
    if request.param == "cuda":
        found = load_kernels(torch.device("cuda"))
        assert not isinstance(found, str), found
        return "cuda"
    level: str = request.param
    if level not in LEVELS.get(architecture(), {}) or not library_path(level).exists():
        pytest.skip("compiled for another architecture, or not at all")
    capabilities = {"x86-64-v4": {"AVX512"}, "x86-64-v3": {"AVX512", "AVX2"}}.get(level)
    if capabilities is not None and torch.backends.cpu.get_cpu_capability() not in capabilities:
        pytest.skip("the processor does not have it")
    kernels = open_cpu_kernels(level)
    monkeypatch.setattr(library, "load_kernels", lambda device: kernels if device == CPU else "none")
    return "cpu"


@pytest.fixture
def kernels() -> CpuKernels:
    """The kernels that are used on this processor."""
    kernels = load_kernels(CPU)
    if isinstance(kernels, str):
        pytest.skip(kernels)
    assert isinstance(kernels, CpuKernels)
    return kernels
