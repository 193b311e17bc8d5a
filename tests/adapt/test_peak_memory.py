import numpy as np
import pytest
import torch

from losa.adapt.peak_memory import forget_peak, highest_bytes


def test_a_peak_on_the_cpu_stays_when_its_memory_is_freed() -> None:
    before = highest_bytes("cpu")
    forget_peak("cpu")
    assert np.ones(before // 4, np.float64).sum()  # twice the peak
    assert highest_bytes("cpu") > 2 * before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_peak_on_the_gpu_is_forgotten() -> None:
    forget_peak("cuda")
    before = highest_bytes("cuda")
    tensor = torch.ones(2**20, device="cuda")
    assert highest_bytes("cuda") >= before + tensor.nbytes
    del tensor
    forget_peak("cuda")
    assert highest_bytes("cuda") == before
