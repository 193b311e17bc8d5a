import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from losa.adapt.kernels import (
    MOST_CHANNELS,
    computes_attention,
    cpu_kernels,
    left_to_torch,
    library,
    narrow_attention,
)
from losa.adapt.kernels.cpu_kernels import CpuKernels
from losa.adapt.side_networks import attention
from losa.adapt.side_networks.attention import attend

ALL = slice(None)


def random_projected(
    batch: int, heads: int, channels: int, tokens: int, *, scale: float = 1.0, device: str = "cpu"
) -> Tensor:
    generator = torch.Generator().manual_seed(batch + heads + channels + tokens)
    return scale * torch.randn(batch, 3, heads, channels, tokens, generator=generator).to(device)


def by_formula(projected: Tensor, read: slice) -> Tensor:
    query, key, value = projected.unbind(dim=1)
    similarities = query.mT @ key / math.sqrt(query.shape[-2])
    attended = (similarities.softmax(dim=-1) @ value.mT).mT
    everywhere = torch.zeros_like(attended)
    everywhere[..., read] = attended[..., read]
    return everywhere


def assert_is_the_formula(projected: Tensor, read: slice) -> None:
    """Results and gradients are those of the formula in float64, to the rounding of float32."""
    mine, exact = projected.clone().requires_grad_(), projected.double().requires_grad_()
    found, expected = narrow_attention(mine, read), by_formula(exact, read)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grad = grad.to(projected.device)
    found.backward(grad.float())
    expected.backward(grad)
    assert mine.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("tokens", [1, 16, 50, 197, 300])
def test_it_is_the_formula(tokens: int, device: str) -> None:
    for channels in range(1, MOST_CHANNELS + 1):
        try:
            assert_is_the_formula(random_projected(3, 2, channels, tokens, device=device), ALL)
        except AssertionError as error:
            raise AssertionError(f"{channels} channels") from error


@pytest.mark.parametrize("read", [slice(0), slice(1), slice(None, None, 9), slice(2, None, 5), slice(20, 30)])
def test_only_tokens_that_are_read_have_results(read: slice, device: str) -> None:
    for channels in (2, MOST_CHANNELS):
        assert_is_the_formula(random_projected(2, 4, channels, 45, device=device), read)


def test_great_similarities_and_small_ones(device: str) -> None:
    projected = random_projected(2, 2, 4, 60, scale=20, device=device)
    assert by_formula(projected, ALL).isfinite().all()
    mine, exact = narrow_attention(projected, ALL), by_formula(projected.double(), ALL)
    # Of similarities of a thousand float32 keeps three digits behind the point.
    torch.testing.assert_close(mine.double(), exact, rtol=1e-3, atol=1e-2)
    assert_is_the_formula(random_projected(2, 2, 4, 60, scale=1e-6, device=device), ALL)


@pytest.mark.parametrize("scale", [1e3, 3e4, 1e8, 1e18])
def test_similarities_of_which_float32_knows_no_difference(scale: float, device: str) -> None:
    """The greatest one has all the weight, whatever is lost in rounding."""
    projected = random_projected(2, 2, 2, 60, scale=scale, device=device)
    found = narrow_attention(projected, ALL)
    torch.testing.assert_close(found, by_formula(projected, ALL), rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0x7FC00001])
@pytest.mark.parametrize("part", range(3))
def test_what_is_not_a_number_stays_so(part: int, bits: int, device: str) -> None:
    projected = random_projected(2, 2, MOST_CHANNELS, 40, device=device)
    projected.view(torch.int32)[1, part, 1, 0, 7] = bits
    mine, formula = narrow_attention(projected, ALL), by_formula(projected, ALL)
    assert (mine.isnan() == formula.isnan()).all()
    assert mine.isnan().any()
    assert mine[0].isfinite().all()


def test_memory_may_be_in_any_order(device: str) -> None:
    projected = random_projected(3, 2, 2, 33, device=device)
    other = projected.mT.contiguous().mT.requires_grad_()
    assert not other.is_contiguous()
    found = narrow_attention(other, ALL)
    assert found.equal(narrow_attention(projected, ALL))
    grad = torch.randn(found.mT.shape, generator=torch.Generator().manual_seed(0)).mT.to(device)
    found.backward(grad)
    same = projected.requires_grad_()
    narrow_attention(same, ALL).backward(grad.contiguous())
    assert other.grad is not None
    assert other.grad.equal(same.grad)


@pytest.mark.usefixtures("kernels")
def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "_LEAST_WORK", 1)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        projected = random_projected(7, 1, 2, 50).requires_grad_()
        attended = narrow_attention(projected, ALL)
        attended.sin().sum().backward()
        assert projected.grad is not None
        found.append(torch.cat([attended.detach().flatten(), projected.grad.flatten()]))
    assert found[0].equal(found[1])
    assert found[0].equal(found[2])


@pytest.mark.usefixtures("kernels")
def test_what_it_does_not_compute() -> None:
    projected = random_projected(1, 1, 2, 4)
    assert computes_attention(projected)
    assert not computes_attention(projected.double())
    assert not computes_attention(projected.bfloat16())
    assert not computes_attention(projected.to("meta"))
    assert not computes_attention(random_projected(1, 1, MOST_CHANNELS + 1, 4))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch says so of its attention in vmap
@pytest.mark.usefixtures("kernels")
def test_graphs_have_operations_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def attended(projected: Tensor) -> Tensor:
        return attend(projected, ALL, torch.float32)

    class Network(torch.nn.Module):
        def forward(self, projected: Tensor) -> Tensor:
            return attended(projected)

    projected = random_projected(3, 2, 2, 17)
    expected = by_formula(projected, ALL)
    exported = torch.export.export(Network(), (projected,), strict=False).module()
    mapped = torch.func.vmap(lambda each: attended(each[None])[0])
    for graph in (exported, make_fx(attended)(projected), mapped):
        torch.testing.assert_close(graph(projected), expected)
    with FakeTensorMode() as mode:
        assert attended(mode.from_tensor(projected)).shape == expected.shape
    assert computes_attention(projected)
    monkeypatch.setattr(torch._C, "_get_tracing_state", object)  # of torch.jit.trace
    assert not computes_attention(projected)


def test_side_networks_attend_by_it(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    projected = random_projected(2, 4, 2, 50, device=device)
    found = attend(projected, ALL, torch.float32)
    assert found.equal(narrow_attention(projected, ALL))
    monkeypatch.setattr(attention, "computes_attention", lambda projected: False)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", _refuse)
    with pytest.raises(AssertionError, match="asked"):
        attend(projected, ALL, torch.float32)


def _refuse(*arguments: Tensor, **options: float) -> Tensor:
    raise AssertionError("torch was asked")


def test_it_can_be_left_to_torch(device: str) -> None:
    projected = random_projected(1, 1, 2, 4, device=device)
    with left_to_torch():
        assert not computes_attention(projected)
    assert computes_attention(projected)


def test_no_gradient_is_computed_that_nobody_asked_for(device: str) -> None:
    projected = random_projected(1, 1, 2, 4, device=device)
    with torch.inference_mode():
        assert not narrow_attention(projected, ALL).requires_grad
    assert not narrow_attention(projected, ALL).requires_grad


def test_an_empty_batch(device: str) -> None:
    projected = random_projected(0, 2, 2, 4, device=device).requires_grad_()
    found = narrow_attention(projected, ALL)
    assert found.shape == (0, 2, 2, 4)
    found.sum().backward()
    assert projected.grad is not None
    assert projected.grad.shape == projected.shape


def test_memory_that_is_missing_is_told(kernels: CpuKernels, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @staticmethod
        def losa_attention(*arguments: object) -> int:
            return 1

    monkeypatch.setattr(library, "load_kernels", lambda device: CpuKernels(kernels.target, Failing()))
    with pytest.raises(MemoryError, match="copies of one head"):
        narrow_attention(random_projected(1, 1, 2, 4), ALL)
