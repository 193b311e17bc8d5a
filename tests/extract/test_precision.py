from types import SimpleNamespace

import pytest
import torch

from losa.cache_format import LosaError
from losa.cache_format.common import emulated_dtypes
from losa.extract import FrozenBackbone
from losa.extract.precision import check_precision, precision


@pytest.fixture
def vit(toy_model):
    return FrozenBackbone(toy_model("test_vit"), "test_vit")


@pytest.fixture
def images(vit):
    return torch.randn(2, *vit.preprocessing.input_size, generator=torch.Generator().manual_seed(1))


def test_autocast_is_near_and_float32_is_exact(vit, images):
    exact = vit.activations(images, vit.sites)
    with precision("cpu", "float32"):
        assert torch.equal(vit.activations(images, vit.sites), exact)
    with precision("cpu", "bfloat16"):
        near = vit.activations(images, vit.sites).float()
    assert not torch.equal(near, exact)
    assert ((near - exact).norm() / exact.norm()).item() < 0.05


def _settings():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        return cudnn.conv.fp32_precision, matmul.fp32_precision
    return cudnn.allow_tf32, matmul.allow_tf32


@pytest.mark.parametrize(("dtype", "new", "old"), [("float32", "ieee", False), ("tf32", "tf32", True)])
def test_float32_operations_are_exact_and_those_of_tf32_are_not(dtype, new, old):
    """By default, CUDA rounds convolutions and not matrix products."""
    before = _settings()
    with precision("cuda", dtype):
        assert _settings() == ((new,) * 2 if hasattr(torch.backends.cudnn, "conv") else (old,) * 2)
    assert _settings() == before
    with pytest.raises(ZeroDivisionError), precision("cuda", dtype):
        raise ZeroDivisionError
    assert _settings() == before


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
@pytest.mark.parametrize("allowed", [True, False])
def test_an_older_torch_has_one_switch_for_each_library(monkeypatch, allowed, dtype):
    older = SimpleNamespace(allow_tf32=allowed), SimpleNamespace(allow_tf32=allowed)
    monkeypatch.setattr(torch.backends, "cudnn", older[0])
    monkeypatch.setattr(torch.backends.cuda, "matmul", older[1])
    with precision("cuda", dtype):
        assert [one.allow_tf32 for one in older] == [dtype == "tf32"] * 2
    assert [one.allow_tf32 for one in older] == [allowed] * 2


def test_tf32_is_for_gpus():
    check_precision("cuda", "tf32")
    with pytest.raises(LosaError) as caught:
        check_precision("cpu", "tf32")
    assert str(caught.value) == "dtype=tf32 is a mode of GPUs, and device=cpu: use dtype=float32"


def test_a_dtype_that_is_emulated_is_warned_of_once(monkeypatch, caplog):
    monkeypatch.setattr(
        emulated_dtypes, "small_rate", lambda dtype, device: 1e9 if dtype == "float16" else 4e10
    )
    emulated_dtypes.warn_if_emulated.cache_clear()
    for dtype in ("float32", "float16", "bfloat16", "float16"):
        check_precision("cpu", dtype)
    emulated_dtypes.warn_if_emulated.cache_clear()
    assert [record.message for record in caplog.records] == [
        "dtype=float16 is emulated on this machine, where its matrix products take 40 times as long as in "
        "float32: dtype=float32 is faster"
    ]
