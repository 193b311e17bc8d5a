"""One battery for every implementation of `Stream`, against numpy in float64 that forms x."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from losa.adapt.streams import (
    NORM_EPS,
    Factored,
    FrozenFeatures,
    Materialised,
    Stream,
    StreamSites,
)
from losa.cache_format.identity import TokenLayout

MEMBERS, IMAGES, WIDTH, RANK, LAYERS = 3, 4, 10, 2, 3
LAYOUTS = {
    "plain": TokenLayout(cls=1, registers=0, grid=(2, 3)),
    "registers": TokenLayout(cls=1, registers=2, grid=(2, 2)),
    "two_cls": TokenLayout(cls=2, registers=0, grid=(1, 3)),
    "frames": TokenLayout(cls=1, registers=1, grid=(2, 1), frames=3),
}
VARIANTS = [
    *((Materialised, norm) for norm in ("layer", "frozen", "none")),
    *((Factored, norm) for norm in ("frozen", "none")),
]
"""A further implementation is one more line here."""
variants = pytest.mark.parametrize(
    ("kind", "norm"), VARIANTS, ids=[f"{kind.__name__}-{norm}" for kind, norm in VARIANTS]
)


def open_stream(
    kind: type[Stream],
    bases: Sequence[torch.Tensor],
    output: torch.Tensor,
    *,
    members: int,
    norm: str,
    tokens: TokenLayout,
) -> Stream:
    features = FrozenFeatures(torch.stack([*bases, output], dim=1), torch.float64)
    sites = StreamSites(layers=tuple((layer,) for layer in range(len(bases))), output=len(bases))
    return kind(features, sites, members=members, norm=norm, tokens=tokens)


class Reference:
    """The definition, one member and one image at a time."""

    def __init__(
        self, bases: Sequence[np.ndarray], output: np.ndarray, members: int, norm: str, tokens: TokenLayout
    ) -> None:
        self.bases, self.output, self.norm, self.tokens = bases, output, norm, tokens
        self.sums = [[np.zeros(output.shape[1:]) for _ in output] for _ in range(members)]

    def enter(self, layer: int) -> None:
        self.base = self.bases[layer]

    def normalised(self, member: int, image: int) -> np.ndarray:
        base = self.base[image]
        x = base + self.sums[member][image]
        if self.norm == "none":
            return x
        of = x if self.norm == "layer" else base
        mean, variance = of.mean(axis=1), of.var(axis=1)
        return (x - mean[:, None]) / np.sqrt(variance + NORM_EPS)[:, None]

    def project(self, weight: np.ndarray) -> np.ndarray:
        return self.each(lambda member, image: weight[member] @ self.normalised(member, image).T)

    def project_tokens(self, weight: np.ndarray) -> np.ndarray:
        def mixed(member: int, image: int) -> np.ndarray:
            rows = weight[member, image] if weight.ndim == 4 else weight[member]
            return rows @ self.normalised(member, image)

        return self.each(mixed)

    def update(self, u: np.ndarray, v: np.ndarray) -> None:
        for member, sums in enumerate(self.sums):
            for image in range(len(sums)):
                left = u[member, image] if u.ndim == 4 else u[member]
                right = v[member, image] if v.ndim == 4 else v[member]
                sums[image] = sums[image] + left.T @ right

    def pool(self, kind: str) -> np.ndarray:
        def pooled(member: int, image: int) -> np.ndarray:
            x = self.output[image] + self.sums[member][image]
            positions = self.tokens.prefix + self.tokens.grid[0] * self.tokens.grid[1]
            rows = [
                frame * positions + position
                for frame in range(self.tokens.frames)
                for position in ([0] if kind == "cls" else range(self.tokens.prefix, positions))
            ]
            return x[rows].mean(axis=0)

        return self.each(pooled)

    def each(self, of: Callable[[int, int], np.ndarray]) -> np.ndarray:
        return np.stack(
            [[of(member, image) for image in range(len(self.output))] for member in range(len(self.sums))]
        )


class Pair(NamedTuple):
    """An implementation and the definition, in the same state."""

    stream: Stream
    reference: Reference
    tokens: TokenLayout

    def enter(self, layer: int) -> None:
        self.stream.enter(layer)
        self.reference.enter(layer)

    def update(self, u: torch.Tensor, v: torch.Tensor) -> None:
        self.stream.update(u, v)
        self.reference.update(u.numpy(), v.numpy())

    def assert_equal(self, method: str, argument: Any) -> None:
        found = getattr(self.stream, method)(argument)
        plain = argument.numpy() if isinstance(argument, torch.Tensor) else argument
        expected = getattr(self.reference, method)(plain)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)

    def assert_all_equal(self) -> None:
        self.assert_equal("project", normal(11, MEMBERS, RANK, WIDTH))
        self.assert_equal("project_tokens", normal(12, MEMBERS, RANK, self.tokens.count))
        self.assert_equal("project_tokens", normal(13, MEMBERS, IMAGES, RANK, self.tokens.count))
        self.assert_equal("pool", "cls")
        self.assert_equal("pool", "mean")

    def factors(self, seed: int, u_images: bool, v_images: bool) -> tuple[torch.Tensor, torch.Tensor]:
        u = normal(seed, MEMBERS, *[IMAGES] * u_images, RANK, self.tokens.count)
        return u, normal(seed + 1, MEMBERS, *[IMAGES] * v_images, RANK, WIDTH)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_pair(kind: type[Stream], norm: str, layout: str = "plain") -> Pair:
    tokens = LAYOUTS[layout]
    # Means and spreads differ from token to token, so that a wrong statistic shows.
    bases = [
        normal(layer, IMAGES, tokens.count, WIDTH) * (1 + layer) + normal(50 + layer, tokens.count, 1)
        for layer in range(LAYERS)
    ]
    output = normal(99, IMAGES, tokens.count, WIDTH)
    stream = open_stream(kind, bases, output, members=MEMBERS, norm=norm, tokens=tokens)
    numbers = [base.numpy() for base in bases]
    return Pair(stream, Reference(numbers, output.numpy(), MEMBERS, norm, tokens), tokens)


@pytest.mark.parametrize("layout", LAYOUTS)
@variants
def test_layers_and_updates(kind: type[Stream], norm: str, layout: str) -> None:
    pair = make_pair(kind, norm, layout)
    for layer in range(LAYERS):
        pair.enter(layer)
        pair.assert_all_equal()
        for number in range(2):
            pair.update(*pair.factors(20 + 10 * layer + 4 * number, True, True))
            pair.assert_all_equal()


@variants
@pytest.mark.parametrize("u_images", [True, False])
@pytest.mark.parametrize("v_images", [True, False])
def test_either_factor_may_lack_the_images_axis(
    kind: type[Stream], norm: str, u_images: bool, v_images: bool
) -> None:
    pair = make_pair(kind, norm)
    pair.enter(0)
    pair.update(*pair.factors(30, u_images, v_images))
    pair.assert_all_equal()
    pair.enter(1)
    pair.update(*pair.factors(40, True, False))
    pair.assert_all_equal()


@variants
def test_ranks_of_updates_and_projections_may_differ(kind: type[Stream], norm: str) -> None:
    pair = make_pair(kind, norm)
    pair.enter(0)
    for rank in (1, 5, 2):
        pair.update(
            normal(1, MEMBERS, IMAGES, rank, pair.tokens.count), normal(2, MEMBERS, IMAGES, rank, WIDTH)
        )
        pair.assert_equal("project", normal(3, MEMBERS, rank + 1, WIDTH))
        pair.assert_equal("project_tokens", normal(4, MEMBERS, rank + 2, pair.tokens.count))


@variants
def test_layers_may_be_entered_without_a_projection(kind: type[Stream], norm: str) -> None:
    pair = make_pair(kind, norm)
    pair.enter(0)
    pair.update(*pair.factors(5, True, True))
    pair.enter(1)
    pair.enter(2)
    pair.assert_all_equal()


@variants
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_without_updates_the_output_is_pooled(kind: type[Stream], norm: str, pool: str) -> None:
    make_pair(kind, norm).assert_equal("pool", pool)


@variants
def test_nothing_differs_from_image_to_image_but_the_features(kind: type[Stream], norm: str) -> None:
    pair = make_pair(kind, norm)
    pair.enter(0)
    pair.update(*pair.factors(6, False, False))
    pair.assert_all_equal()


@pytest.mark.parametrize("frozen_kind", [Materialised, Factored])
def test_frozen_is_layer_before_the_first_update(frozen_kind: type[Stream]) -> None:
    weight = normal(1, MEMBERS, RANK, WIDTH)
    layer, frozen = make_pair(Materialised, "layer"), make_pair(frozen_kind, "frozen")
    for number in range(LAYERS):
        layer.enter(number)
        frozen.enter(number)
        torch.testing.assert_close(
            layer.stream.project(weight), frozen.stream.project(weight), rtol=0, atol=1e-12
        )
    for pair in (layer, frozen):
        pair.update(*pair.factors(2, True, True))
    assert not torch.allclose(layer.stream.project(weight), frozen.stream.project(weight))


@pytest.mark.parametrize("kind", [Materialised, Factored])
def test_frozen_is_linear_in_the_updates(kind: type[Stream]) -> None:
    weight = normal(1, MEMBERS, RANK, WIDTH)
    found = []
    for factor in (0, 1, 2):
        pair = make_pair(kind, "frozen")
        pair.enter(1)
        u, v = pair.factors(2, True, True)
        pair.update(u * factor, v)
        found.append(pair.stream.project(weight))
    torch.testing.assert_close(found[2] - found[1], found[1] - found[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["layer", "frozen", "none"])
def test_gradients_of_the_plain_stream(norm: str) -> None:
    """By finite differences; those of the fast stream are compared with these."""
    tokens = TokenLayout(cls=1, registers=0, grid=(1, 2))
    bases = [normal(layer, 2, tokens.count, 4) for layer in range(2)]

    def run(*factors: torch.Tensor) -> torch.Tensor:
        W, T, U, V = factors
        stream = open_stream(Materialised, bases, bases[-1], members=2, norm=norm, tokens=tokens)
        stream.enter(0)
        stream.update(stream.project(W), V)
        stream.update(U, stream.project_tokens(T))
        stream.enter(1)
        stream.update(stream.project(W).tanh(), V)
        return stream.pool("mean") + stream.pool("cls")

    shapes = [(2, 1, 4), (2, 1, tokens.count), (2, 1, tokens.count), (2, 1, 4)]
    arguments = [normal(10 + i, *shape).requires_grad_() for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(run, arguments)


@variants
def test_members_do_not_mix(kind: type[Stream], norm: str) -> None:
    tokens = LAYOUTS["plain"]
    base = normal(0, IMAGES, tokens.count, WIDTH)
    stream = open_stream(kind, [base], base, members=MEMBERS, norm=norm, tokens=tokens)
    u, v = normal(1, MEMBERS, RANK, tokens.count), normal(2, MEMBERS, RANK, WIDTH)
    u[1] = float("nan")
    stream.enter(0)
    stream.update(u, v)
    weight = normal(3, MEMBERS, RANK, WIDTH)
    for found in (stream.project(weight), stream.project_tokens(u), stream.pool("cls")):
        assert found[[0, 2]].isfinite().all()
        assert found[1].isnan().all()
