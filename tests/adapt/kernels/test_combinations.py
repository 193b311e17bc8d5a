"""Combinations on a GPU against float64; on a processor they are left to torch."""

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from losa.adapt.kernels import computes_combinations, few_combinations
from losa.adapt.kernels.combinations import MOST_ROWS
from losa.adapt.streams import products

MEMBERS, IMAGES = 3, 5


def random(*shape: int, device: str = "cuda") -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(MEMBERS, *shape, generator=generator).to(device)


def assert_equals(found: Tensor, exact: Tensor) -> None:
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=2e-5 * exact.abs().max().item())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestOnAGpu:
    @pytest.mark.parametrize("rows", [1, 3, 8, MOST_ROWS])
    @pytest.mark.parametrize("columns", [1, 50, 197, 768, 1200])
    @pytest.mark.parametrize("terms", [1, 8, 89])
    @pytest.mark.parametrize("images", [(), (IMAGES,)], ids=["shared", "each"])
    def test_they_are_the_formula(self, rows: int, columns: int, terms: int, images: tuple[int, ...]) -> None:
        # Earlier updates are a slice of a stack.
        f, s = random(IMAGES, terms + 7, columns)[:, :, :terms], random(*images, rows, terms)
        exact = (s[:, None] if s.ndim == 3 else s).double() @ f.double()
        assert computes_combinations(s, f)
        assert_equals(few_combinations(s, f), exact)
        total = random(IMAGES, rows, columns)
        expected = total.double() + exact
        assert_equals(few_combinations(s, f, total), expected)

    def test_memory_may_be_in_any_order(self) -> None:
        f, s, total = random(IMAGES, 12, 50), random(IMAGES, 12, 4).mT, random(IMAGES, 50, 4).mT
        exact = s.double() @ f.double()
        assert_equals(few_combinations(s, f), exact)
        assert_equals(few_combinations(s, f, total), total.double() + exact)

    def test_many_launches_give_the_same(self) -> None:
        f, s = random(IMAGES, 96, 768), random(8, 96)
        first = few_combinations(s, f)
        assert all(few_combinations(s, f).equal(first) for _ in range(20))

    def test_nothing_to_combine(self) -> None:
        assert few_combinations(random(0, 4, 12), random(0, 12, 50)).shape == (MEMBERS, 0, 4, 50)

    def test_what_they_do_not_compute(self) -> None:
        f, s = random(IMAGES, 12, 50), random(4, 12)
        assert not computes_combinations(s.bfloat16(), f.bfloat16())
        assert not computes_combinations(random(MOST_ROWS + 1, 12), f)
        assert not computes_combinations(s, random(IMAGES, 50, 12).mT)
        assert not computes_combinations(s, f, random(IMAGES, 4, 50).bfloat16())
        assert not computes_combinations(s.cpu(), f)
        assert not computes_combinations(s.requires_grad_(), f)
        with torch.no_grad():
            assert computes_combinations(s, f)

    def test_factors_that_do_not_fit_are_refused(self) -> None:
        f = random(IMAGES, 12, 50)
        for s in (random(4, 13), random(4, 12)[:2], random(IMAGES + 1, 4, 12)):
            with pytest.raises(RuntimeError, match="expand"):
                few_combinations(s, f)
        with pytest.raises(RuntimeError, match="shape"):
            few_combinations(random(4, 12), f, random(IMAGES, 3, 50))

    def test_graphs_have_operations_of_torch(self) -> None:
        f, s = random(IMAGES, 12, 50), random(4, 12)
        graph = make_fx(products.combine)(s, f)
        assert "bmm" in graph.code
        assert_equals(graph(s, f), s[:, None].double() @ f.double())

    def test_streams_combine_by_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        f, s = random(IMAGES, 12, 50), random(4, 12)
        found = products.combine(s, f)
        assert found.equal(few_combinations(s, f))
        monkeypatch.setattr(products, "computes_combinations", lambda s, f, total: False)
        assert_equals(found, products.combine(s, f).double())


def test_a_processor_has_none() -> None:
    assert not computes_combinations(random(4, 12, device="cpu"), random(IMAGES, 12, 50, device="cpu"))
