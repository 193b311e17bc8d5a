import torch
from torch.nn import functional

from losa.adapt.side_networks.attention import attend


def test_only_the_tokens_that_are_read_are_computed() -> None:
    query, key, value = torch.randn(3, 2, 4, 6, 5, generator=torch.Generator().manual_seed(0)).unbind()
    whole = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend(query, key, value, slice(None)), whole)
    some = attend(query, key, value, slice(None, None, 3))
    torch.testing.assert_close(some[:, :, ::3], whole[:, :, ::3])
    assert not some[:, :, 1:3].any()
    assert not some[:, :, 4:].any()
