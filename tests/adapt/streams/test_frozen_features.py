import pytest
import torch

from losa.adapt.streams import FrozenFeatures, StreamSites


def features(dtype: torch.dtype = torch.float64) -> FrozenFeatures:
    activations = torch.randn(2, 4, 3, 10, generator=torch.Generator().manual_seed(0))
    return FrozenFeatures(activations.double(), dtype)


@pytest.mark.parametrize(
    "layers",
    [((0, 3), (1, 3), (3, 3)), ((0,), (0, 1), (0, 1, 2, 3)), ((2,), (0, 2), (1,)), ((1, 1), (1,), (1,)), ()],
    ids=str,
)
def test_a_base_is_the_sum_of_its_sites(layers: tuple[tuple[int, ...], ...]) -> None:
    """LoSA counts the last site twice in its last layer; LAST's bases grow."""
    frozen = features()
    sites = StreamSites(layers=layers, output=3)
    expected = [torch.stack([frozen.activations[:, site] for site in layer]).sum(dim=0) for layer in layers]
    for found in (list(frozen.sums(sites)), [base.normalised for base in frozen.bases(sites, "none")]):
        torch.testing.assert_close(found, expected)


def test_a_normalised_base_and_its_scale() -> None:
    frozen = features()
    (base,) = frozen.bases(StreamSites(layers=((0, 2),), output=0), "frozen")
    total = frozen.activations[:, 0] + frozen.activations[:, 2]
    variance, mean = torch.var_mean(total, dim=-1, correction=0)
    assert base.scale is not None
    torch.testing.assert_close(base.scale, (variance + 1e-6).rsqrt())
    torch.testing.assert_close(base.normalised, (total - mean[..., None]) * base.scale[..., None])


def test_bases_are_computed_once() -> None:
    frozen = features()
    sites, same = (StreamSites(layers=((0, 1),), output=1) for _ in range(2))
    assert frozen.bases(sites, "frozen") is frozen.bases(same, "frozen")
    assert frozen.bases(sites, "frozen") is not frozen.bases(sites, "none")


def test_bases_are_in_the_dtype_of_the_products() -> None:
    frozen = features(torch.bfloat16)
    (base,) = frozen.bases(StreamSites(layers=((0,),), output=0), "frozen")
    assert base.scale is not None
    assert base.normalised.dtype == base.scale.dtype == torch.bfloat16
