import torch

from losa.adapt.data.reused_memory import ReusedMemory

CPU = torch.device("cpu")


def test_smaller_results_take_the_memory_of_larger_ones() -> None:
    memory = ReusedMemory()
    first = memory.empty((3, 4), CPU)
    assert (first.shape, first.dtype) == ((3, 4), torch.float32)
    place = first.data_ptr()
    for shape in ((3, 4), (2, 5), (0, 4), (12,)):
        again = memory.empty(shape, CPU)
        assert again.shape == shape
        assert again.is_contiguous()
        assert not again.numel() or again.data_ptr() == place
    assert memory.empty((4, 4), CPU).shape == (4, 4)


def test_what_scoring_has_used_serves_training() -> None:
    memory, weight = ReusedMemory(), torch.ones(4, requires_grad=True)
    with torch.inference_mode():
        memory.empty((3, 4), CPU).fill_(1)
    (memory.empty((3, 4), CPU).fill_(2) * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [6, 6, 6, 6]


def test_other_devices_have_memory_of_their_own() -> None:
    found = ReusedMemory().empty((2, 3), torch.device("meta"))
    assert (found.device.type, found.shape) == ("meta", (2, 3))
