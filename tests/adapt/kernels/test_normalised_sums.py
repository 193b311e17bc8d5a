import pytest
import torch
from torch import Tensor

from losa.adapt.kernels import computes_normalised_sums, normalised_sum
from losa.adapt.kernels.library import load_kernels
from losa.adapt.streams import FrozenFeatures, StreamSites
from losa.adapt.streams.contract import NORM_EPS

on_processors = pytest.mark.parametrize("device", ["x86-64-v4", "x86-64-v3", "armv8-a"], indirect=True)


def random_activations(*shape: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return scale * torch.randn(*shape, generator=generator) + offset


def assert_is_the_formula(a: Tensor, b: Tensor | None, *, keeps_sum: bool, tolerance: float = 1e-6) -> None:
    assert computes_normalised_sums(a, b)
    normalised, scale, total = normalised_sum(a, b, NORM_EPS, keeps_sum=keeps_sum)
    expected = a if b is None else a + b
    assert (total is not None) == keeps_sum
    assert total is None or torch.equal(total, expected)
    exact = expected.double()
    variance, mean = torch.var_mean(exact, dim=-1, correction=0)
    factor = (variance + NORM_EPS).rsqrt()
    torch.testing.assert_close(scale.double(), factor, rtol=tolerance, atol=0)
    found = (exact - mean[..., None]) * factor[..., None]
    torch.testing.assert_close(normalised.double(), found, rtol=tolerance, atol=tolerance)


@on_processors
@pytest.mark.parametrize("width", [1, 3, 4, 8, 15, 16, 17, 40, 192, 768])
@pytest.mark.parametrize("keeps_sum", [False, True])
def test_it_is_the_formula(width: int, keeps_sum: bool, device: str) -> None:
    activations = random_activations(3, 4, 5, width)
    for second in (None, activations[:, 3], activations[:, 1]):
        assert_is_the_formula(activations[:, 1], second, keeps_sum=keeps_sum)


@on_processors
def test_far_from_zero(device: str) -> None:
    """The variance is that of distances from the mean: no digits are lost by taking squares apart."""
    activations = random_activations(2, 1, 3, 192, scale=0.1, offset=100.0)
    assert_is_the_formula(activations[:, 0], None, keeps_sum=False, tolerance=1e-3)


@on_processors
def test_tokens_without_variance(device: str) -> None:
    constant = torch.full((2, 3, 32), 5.0)
    normalised, scale, _ = normalised_sum(constant, constant, NORM_EPS, keeps_sum=False)
    assert torch.equal(normalised, torch.zeros_like(constant))
    torch.testing.assert_close(scale, torch.full((2, 3), NORM_EPS**-0.5))


@on_processors
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_token(value: float, device: str) -> None:
    activations = random_activations(2, 1, 4, 32)[:, 0]
    broken = activations.clone()
    broken[1, 2, 7] = value
    (clean, *_), (found, *_) = (
        normalised_sum(each, None, NORM_EPS, keeps_sum=False) for each in (activations, broken)
    )
    assert found[1, 2].isnan().any()
    found[1, 2] = clean[1, 2]
    assert torch.equal(found, clean)


@on_processors
@pytest.mark.parametrize("images", [0, 1, 300])
def test_threads_share_the_tokens(images: int, device: str) -> None:
    a, b = random_activations(images, 2, 50, 64).unbind(dim=1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(normalised_sum(a, b, NORM_EPS, keeps_sum=True))
    finally:
        torch.set_num_threads(before)
    for one, several in zip(*results, strict=True):
        assert torch.equal(one, several)


def test_only_decoded_activations_have_a_kernel() -> None:
    activations = random_activations(2, 3, 4, 8)[:, 1]
    assert computes_normalised_sums(activations, None) == (
        not isinstance(load_kernels(activations.device), str)
    )
    for other in (
        activations.double(),
        activations.mT.contiguous().mT,
        activations[..., ::2],
        activations[:, ::2],
    ):
        assert not computes_normalised_sums(other, None)
        assert not computes_normalised_sums(activations, other)


@on_processors
@pytest.mark.parametrize(
    "layers",
    [((0, 3), (1, 3), (3, 3)), ((0,), (0, 1), (0, 1, 2, 3)), ((0, 1, 2), (2,), (2,)), ()],
    ids=str,
)
def test_bases_are_those_of_torch(
    layers: tuple[tuple[int, ...], ...], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations = random_activations(3, 4, 5, 40)
    sites = StreamSites(layers=layers, output=3)
    found = FrozenFeatures(activations).bases(sites, "frozen")
    monkeypatch.setattr("losa.adapt.streams.frozen_features.computes_normalised_sums", lambda a, b: False)
    expected = FrozenFeatures(activations).bases(sites, "frozen")
    assert len(found) == len(layers)
    for base, of_torch in zip(found, expected, strict=True):
        torch.testing.assert_close(base.normalised, of_torch.normalised, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(base.scale, of_torch.scale, rtol=1e-6, atol=0)
