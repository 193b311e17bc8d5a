import argparse
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from losa.cache_format import LosaError
from losa.extract.checkpoint_files import named_tensors, read_checkpoint


class _Malicious:
    """Unpickling it runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_tensors_of_both_kinds_of_files(tmp_path):
    tensors = {"a.weight": torch.arange(3.0), "b": torch.ones(2, dtype=torch.float16)}
    save_file(tensors, tmp_path / "x.safetensors")
    torch.save({"model": tensors, "args": argparse.Namespace(lr=1), "epoch": 3}, tmp_path / "x.pth")
    for file, prefix in (("x.safetensors", ""), ("x.pth", "model.")):
        found = dict(named_tensors(read_checkpoint(tmp_path / file)))
        assert found.keys() == {f"{prefix}{name}" for name in tensors}
        assert all(torch.equal(found[f"{prefix}{name}"], value) for name, value in tensors.items())


def test_code_in_a_file_is_not_run(tmp_path):
    trace = tmp_path / "ran"
    torch.save({"weight": torch.ones(2), "extra": _Malicious(trace)}, tmp_path / "x.pth")
    with pytest.raises(
        LosaError, match=r"was not read, because that could run code of the file: .*system"
    ) as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert not trace.exists()
    assert "torch.save(model.state_dict(), <file>), or safetensors" in str(caught.value)
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert trace.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(LosaError, match=r"x\.pth holds more than tensors and plain values"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("file", ["x.pth", "x.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, file):
    whole = tmp_path / f"whole_{file}"
    tensors = {"weight": torch.ones(100)}
    save_file(tensors, whole) if file.endswith("safetensors") else torch.save(tensors, whole)
    for content in (b"", b"no weights", whole.read_bytes()[:-50]):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(LosaError, match=rf"{file} (cannot be read as weights|holds more than tensors)"):
            read_checkpoint(tmp_path / file)


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [torch.ones(2)], torch.ones(2), {"a": {"b": {}}}])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(
        LosaError, match=r"x\.pth: expected tensors by name, found (dict|list|Tensor) without any"
    ):
        read_checkpoint(tmp_path / "x.pth")
