import sys
from typing import Any

import pytest
import torch

from losa.adapt.kernels import MOST_CHANNELS, gpu_kernels, kernels_told
from losa.adapt.kernels.combinations import MOST_ROWS
from losa.adapt.kernels.gpu_kernels import compiled
from losa.adapt.kernels.library import _load


@pytest.fixture(autouse=True)
def _looks_again() -> Any:
    _load.cache_clear()
    yield
    _load.cache_clear()


class TestCompilation:
    """NVRTC needs no GPU."""

    @pytest.fixture(autouse=True)
    def _nvrtc(self) -> None:
        nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="this torch brings no cuda-bindings")
        try:
            nvrtc.nvrtcVersion()
        except RuntimeError as error:
            pytest.skip(f"there is no NVRTC: {error}")

    @pytest.mark.parametrize("architecture", [75, 80, 90, 120])
    def test_the_sources_compile(self, architecture: int) -> None:
        from cuda.bindings import nvrtc

        if architecture not in nvrtc.nvrtcGetSupportedArchs()[1]:
            pytest.skip("this NVRTC does not know it")
        sets = [("dropout", {}), ("attention", {"CHANNELS": 2}), ("combinations", {"ROWS": 8, "COLUMNS": 3})]
        if architecture == 90:
            sets += [("attention", {"CHANNELS": channels}) for channels in (1, MOST_CHANNELS)]
            sets += [("combinations", {"ROWS": rows, "COLUMNS": 1}) for rows in (1, MOST_ROWS)]
        machine_codes = {
            compiled(source, tuple(constants.items()), f"sm_{architecture}") for source, constants in sets
        }
        assert len(machine_codes) == len(sets)
        assert all(code.startswith(b"\x7fELF") for code in machine_codes)

    def test_an_unknown_architecture_is_told(self) -> None:
        with pytest.raises(RuntimeError, match=r"^dropout.cu for sm_1: NVRTC_ERROR_INVALID_OPTION"):
            compiled("dropout", (), "sm_1")

    def test_an_invalid_source_is_quoted(self) -> None:
        with pytest.raises(RuntimeError, match=r'(?s)attention.cu for sm_80: .*"CHANNELS" is undefined'):
            compiled("attention", (), "sm_80")


class TestWhereThereAreNone:
    @pytest.fixture(autouse=True)
    def _a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def test_another_kind_of_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.version, "cuda", None)
        assert kernels_told("cuda").endswith("there are none for this GPU, only for CUDA")
        assert kernels_told("mps").endswith("there are none for mps")

    def test_a_torch_that_does_not_bring_the_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cuda.bindings", None)
        assert kernels_told("cuda:0").endswith("is not installed: pip install cuda-bindings")

    def test_a_compiler_that_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("cuda.bindings", reason="this torch brings no cuda-bindings")

        def fail(*arguments: Any, **options: Any) -> None:
            raise RuntimeError("dropout.cu for sm_999: NVRTC_ERROR_INVALID_OPTION")

        zeros = torch.zeros
        monkeypatch.setattr(torch, "zeros", lambda *shape, device, **options: zeros(*shape, **options))
        monkeypatch.setattr(gpu_kernels, "_function", fail)
        told = kernels_told("cuda")
        assert told.startswith("torch, without compiled kernels: cuda.bindings ")
        assert told.endswith(": dropout.cu for sm_999: NVRTC_ERROR_INVALID_OPTION")

    def test_memory_that_runs_out_is_no_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*shape: int, **options: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        pytest.importorskip("cuda.bindings", reason="this torch brings no cuda-bindings")
        monkeypatch.setattr(torch, "zeros", fail)
        with pytest.raises(torch.OutOfMemoryError):
            kernels_told("cuda")

    def test_they_can_be_switched_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOSA_KERNELS", "off")
        assert kernels_told("cuda").endswith("LOSA_KERNELS=off")
