import torch

from losa.extract.host_copies import HostCopies


def test_tensors_of_the_host_are_there_already():
    tensors = [torch.arange(3), torch.zeros(2, 2)]
    copy = HostCopies(torch.device("cpu")).start(tensors)
    assert [one is other for one, other in zip(copy.wait(), tensors, strict=True)] == [True, True]
