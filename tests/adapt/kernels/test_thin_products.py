"""Products of few rows on a GPU against float64; on a processor, that they are left to torch."""

import pytest
import torch
from torch import Tensor

from losa.adapt.kernels import combined, computes_products, inner_products
from losa.adapt.kernels.thin_products import MOST_ROWS
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
    @pytest.mark.parametrize("rows", [1, 3, 8, 24, MOST_ROWS])
    @pytest.mark.parametrize("columns", [1, 50, 197, 768, 1200])
    @pytest.mark.parametrize("terms", [1, 8, 89])
    @pytest.mark.parametrize("images", [(), (IMAGES,)], ids=["shared", "each"])
    def test_they_are_the_formulas(
        self, rows: int, columns: int, terms: int, images: tuple[int, ...]
    ) -> None:
        # Earlier updates are a slice of a stack.
        f = random(IMAGES, terms + 7, columns)[:, :, :terms]
        s, a = random(*images, rows, terms), random(*images, rows, columns)
        shared = s.ndim == 3
        exact = (s[:, None] if shared else s).double() @ f.double()
        assert computes_products(s, f)
        assert_equals(combined(s, f), exact)
        assert_equals(inner_products(a, f), (a[:, None] if shared else a).double() @ f.double().mT)
        total = random(IMAGES, rows, columns)
        expected = total.double() + exact
        assert combined(s, f, total) is total
        assert_equals(total, expected)

    def test_coefficients_may_be_in_any_order(self) -> None:
        f = random(IMAGES, 12, 50)
        s, a = random(IMAGES, 12, 4).mT, random(IMAGES, 50, 4).mT
        assert_equals(combined(s, f), s.double() @ f.double())
        assert_equals(inner_products(a, f), a.double() @ f.double().mT)

    def test_many_launches_give_the_same(self) -> None:
        f, s = random(IMAGES, 96, 768), random(8, 96)
        first = combined(s, f)
        assert all(combined(s, f).equal(first) for _ in range(20))

    def test_what_they_do_not_compute(self) -> None:
        f, s = random(IMAGES, 12, 50), random(4, 12)
        assert not computes_products(s.bfloat16(), f.bfloat16())
        assert not computes_products(random(MOST_ROWS + 1, 12), f)
        assert not computes_products(s, random(IMAGES, 50, 12).mT)
        assert not computes_products(s.requires_grad_(), f)
        with torch.no_grad():
            assert computes_products(s, f)

    def test_products_of_streams_are_computed_by_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        f, s, a = random(IMAGES, 12, 50), random(4, 12), random(IMAGES, 4, 50)
        found = products.combine(s, f), products.inner(a, f)
        assert found[0].equal(combined(s, f))
        assert found[1].equal(inner_products(a, f))
        monkeypatch.setattr(products, "computes_products", lambda thin, other: False)
        assert_equals(found[0], products.combine(s, f).double())
        assert_equals(found[1], products.inner(a, f).double())


def test_a_processor_has_none() -> None:
    assert not computes_products(random(4, 12, device="cpu"), random(IMAGES, 12, 50, device="cpu"))
