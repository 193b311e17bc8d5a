"""Products of thin matrices against einsum, whichever of them has an images axis."""

import pytest
import torch

from losa.adapt.streams.products import combine, inner, sum_images, with_images_axis

MEMBERS, IMAGES, ROWS, TERMS, COLUMNS = 2, 3, 4, 5, 6


def normal(seed: int, images: bool, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(MEMBERS, *[IMAGES] * images, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("left_images", [True, False])
@pytest.mark.parametrize("right_images", [True, False])
def test_products(left_images: bool, right_images: bool) -> None:
    s, f = normal(0, left_images, ROWS, TERMS), normal(1, right_images, TERMS, COLUMNS)
    axes = f"m{'i' * left_images}rt,m{'i' * right_images}tc->m{'i' * (left_images or right_images)}rc"
    expected = torch.einsum(axes, s, f)
    torch.testing.assert_close(combine(s, f), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(inner(s, f.mT.contiguous()), expected, rtol=0, atol=1e-12)
    for total_images in (True, False):
        total = normal(2, total_images, ROWS, COLUMNS)
        sum_of_both = with_images_axis(total) + with_images_axis(expected)
        found = with_images_axis(combine(s, f, total.clone()))
        torch.testing.assert_close(found, sum_of_both, rtol=0, atol=1e-12)


def test_images_are_summed_in_float32() -> None:
    ones = torch.ones(1, 300, 1, 1, dtype=torch.bfloat16)
    found = sum_images(ones * 1.0078125)
    assert found.dtype == torch.float32
    assert found.item() == 300 * 1.0078125
    assert sum_images(ones.double()).dtype == torch.float64


def test_an_axis_of_images() -> None:
    assert with_images_axis(normal(0, False, 4, 5)).shape == (MEMBERS, 1, 4, 5)
    assert with_images_axis(normal(0, True, 4, 5)).shape == (MEMBERS, IMAGES, 4, 5)
