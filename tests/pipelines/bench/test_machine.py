"""What is told of the machine on which figures were measured."""

from types import SimpleNamespace

import torch

from losa.pipelines.bench.machine import describe_machine


def test_a_gpu_is_told_where_it_computes(monkeypatch):
    found = SimpleNamespace(name="GPU of a test", total_memory=8)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {"cuda:1": found}.__getitem__)
    machine = describe_machine("cuda:1")
    assert (machine["gpu"], machine["gpu_memory_bytes"]) == ("GPU of a test", 8)
    assert "gpu" not in describe_machine()
