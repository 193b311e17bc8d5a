import subprocess
import sys

import pytest
import torch

from losa.adapt.peak_memory import forget_peak, highest_bytes

ON_THE_CPU = """
import os, sys
from types import ModuleType, SimpleNamespace
import losa
import numpy as np

# A small process soon takes twice its peak: it has neither the peak of the one that started this one, which
# Linux lets it inherit, nor torch and the rest of the package.
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.modules["torch"] = torch = ModuleType("torch")
torch.device = lambda name: SimpleNamespace(type=name)
sys.modules["losa.adapt"] = package = ModuleType("losa.adapt")
package.__path__ = [f"{folder}/adapt" for folder in losa.__path__]
from losa.adapt.peak_memory import forget_peak, highest_bytes

before = highest_bytes("cpu")
forget_peak("cpu")
assert np.ones(before // 4, np.float64).sum()  # twice the peak
assert highest_bytes("cpu") > 2 * before
"""


def test_a_peak_on_the_cpu_stays_when_its_memory_is_freed() -> None:
    # In a process of its own: the peak of this one, after other tests, is gigabytes.
    found = subprocess.run([sys.executable, "-c", ON_THE_CPU], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


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
