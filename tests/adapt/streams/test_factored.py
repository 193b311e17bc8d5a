"""The fast stream against the plain one, whose gradients are autograd's."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from losa.adapt.streams import Factored, FrozenFeatures, Materialised, Stream, StreamSites
from losa.cache_format.identity import TokenLayout

TOKENS = TokenLayout(cls=1, registers=1, grid=(2, 2))
WIDTH, RANK = 10, 2
SITES = StreamSites(layers=((0,), (1, 2), (0, 1)), output=2)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Size(NamedTuple):
    members: int = 3
    images: int = 4

    def features(self, dtype: torch.dtype = torch.float64) -> FrozenFeatures:
        return FrozenFeatures(normal(0, self.images, 3, TOKENS.count, WIDTH) * 2 + 0.3, dtype)

    def stream(
        self, kind: type[Stream], norm: str = "frozen", features: FrozenFeatures | None = None
    ) -> Stream:
        features = self.features() if features is None else features
        return kind(features, SITES, members=self.members, norm=norm, tokens=TOKENS)


class Leaves:
    """Random parameters, the same whenever they are made in the same order."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.made: list[Tensor] = []

    def thin(self, columns: int, images: bool = False, rank: int = RANK) -> Tensor:
        leaf = normal(10 + len(self.made), self.size.members, *[self.size.images] * images, rank, columns)
        self.made.append((leaf * 0.5).requires_grad_())
        return self.made[-1]

    def along_width(self, images: bool = False, rank: int = RANK) -> Tensor:
        return self.thin(WIDTH, images, rank)

    def along_tokens(self, images: bool = False, rank: int = RANK) -> Tensor:
        return self.thin(TOKENS.count, images, rank)


Program = Callable[[Stream, Leaves], Tensor]
"""What is done to a stream; returns what the loss is made of."""
PROGRAMS: dict[str, Program] = {}


def program(run: Program) -> Program:
    PROGRAMS[run.__name__] = run
    return run


def read(stream: Stream, leaves: Leaves) -> Tensor:
    """A number that every product and its sign matter to."""
    products = stream.project(leaves.along_width()).tanh().sum(dim=(-1, -2))
    return products + stream.project_tokens(leaves.along_tokens()).sin().sum(dim=(-1, -2))


def both_pools(stream: Stream) -> Tensor:
    return (stream.pool("mean") - 0.5 * stream.pool("cls")).square().sum(dim=-1)


def one_update(u_images: bool, v_images: bool) -> Program:
    def run(stream: Stream, leaves: Leaves) -> Tensor:
        stream.enter(0)
        stream.update(leaves.along_tokens(u_images), leaves.along_width(v_images))
        total = read(stream, leaves)
        stream.enter(1)
        return total + read(stream, leaves) + both_pools(stream)

    return run


AXES = [(False, False), (False, True), (True, False), (True, True)]
for axes in AXES:
    PROGRAMS[f"factors_with_images_{axes[0]}_{axes[1]}"] = one_update(*axes)


@program
def all_axes_in_one_stream(stream: Stream, leaves: Leaves) -> Tensor:
    total = torch.zeros(())
    for layer in range(3):
        stream.enter(layer)
        for axes in AXES:
            stream.update(leaves.along_tokens(axes[0]), leaves.along_width(axes[1]))
            total = total + read(stream, leaves)
    return total + both_pools(stream)


@program
def axes_from_most_to_fewest(stream: Stream, leaves: Leaves) -> Tensor:
    stream.enter(0)
    for axes in reversed(AXES):
        stream.update(leaves.along_tokens(axes[0]), leaves.along_width(axes[1]))
    return read(stream, leaves) + both_pools(stream)


@program
def only_the_pool_reads(stream: Stream, leaves: Leaves) -> Tensor:
    stream.update(leaves.along_tokens(), leaves.along_width())
    stream.update(leaves.along_tokens(True), leaves.along_width())
    return both_pools(stream)


@program
def no_update(stream: Stream, leaves: Leaves) -> Tensor:
    stream.enter(1)
    return read(stream, leaves) + both_pools(stream)


@program
def a_chain_of_layers(stream: Stream, leaves: Leaves) -> Tensor:
    """As LoSA: every update is made of a product that has seen the updates before."""
    for layer in range(3):
        stream.enter(layer)
        stream.update(stream.project(leaves.along_width()).tanh(), leaves.along_width())
        stream.update(leaves.along_tokens(), stream.project_tokens(leaves.along_tokens()).tanh())
    return both_pools(stream)


@program
def weights_that_differ_from_image_to_image(stream: Stream, leaves: Leaves) -> Tensor:
    """As attention: what mixes the tokens is made of products. Both kinds of weights in one stream."""
    total = torch.zeros(())
    for layer in range(3):
        stream.enter(layer)
        mixed = stream.project_tokens(leaves.along_tokens())
        attention = stream.project(leaves.along_width()).softmax(dim=-1)
        pooled = stream.project_tokens(attention)
        total = total + pooled.square().sum(dim=(-1, -2))
        stream.update(leaves.along_tokens(), pooled.tanh() + mixed)
        stream.update(attention, leaves.along_width())
    return total + both_pools(stream)


@program
def products_before_the_first_update(stream: Stream, leaves: Leaves) -> Tensor:
    stream.enter(2)
    total = read(stream, leaves) + read(stream, leaves)
    stream.update(leaves.along_tokens(), leaves.along_width())
    return total + read(stream, leaves)


@program
def updates_never_read(stream: Stream, leaves: Leaves) -> Tensor:
    stream.enter(0)
    stream.update(leaves.along_tokens(), leaves.along_width())
    total = read(stream, leaves)
    stream.update(leaves.along_tokens(True), leaves.along_width())
    stream.update(leaves.along_tokens(), leaves.along_width())
    return total


@program
def updates_read_along_one_axis(stream: Stream, leaves: Leaves) -> Tensor:
    stream.enter(0)
    stream.update(leaves.along_tokens(), leaves.along_width())
    total = stream.project(leaves.along_width()).tanh().sum(dim=(-1, -2))
    stream.update(leaves.along_tokens(True), leaves.along_width(True))
    return total + stream.project_tokens(leaves.along_tokens()).tanh().sum(dim=(-1, -2))


@program
def products_that_nothing_uses(stream: Stream, leaves: Leaves) -> Tensor:
    """First, last, between others, and all along one axis."""
    total = torch.zeros(())
    for layer in range(3):
        stream.enter(layer)
        stream.project(leaves.along_width())
        stream.update(leaves.along_tokens(layer == 1), leaves.along_width())
        total = total + stream.project(leaves.along_width()).tanh().sum(dim=(-1, -2))
        stream.project(leaves.along_width())
        stream.project_tokens(leaves.along_tokens())
        total = total + stream.project(leaves.along_width()).tanh().sum(dim=(-1, -2))
    stream.update(leaves.along_tokens(), leaves.along_width())
    stream.project(leaves.along_width())
    return total


@program
def ranks_that_differ_from_call_to_call(stream: Stream, leaves: Leaves) -> Tensor:
    total = torch.zeros(())
    for layer, rank in enumerate((1, 5, 2)):
        stream.enter(layer)
        stream.update(leaves.along_tokens(rank=rank), leaves.along_width(rank=rank))
        hidden = stream.project(leaves.along_width(rank=rank + 1)).tanh()
        stream.update(hidden, leaves.along_width(rank=rank + 1))
        total = total + stream.project_tokens(leaves.along_tokens(rank=4 - layer)).tanh().sum(dim=(-1, -2))
    return total + both_pools(stream)


@program
def factors_without_gradients(stream: Stream, leaves: Leaves) -> Tensor:
    """As the biases of LoSA, one factor of which is all ones."""
    stream.enter(0)
    v = leaves.along_width()
    stream.update(torch.ones_like(leaves.along_tokens()), v)
    u = leaves.along_tokens(True)
    stream.update(u, torch.ones_like(v))
    stream.update(torch.ones_like(u), torch.ones_like(v))
    return read(stream, leaves) + both_pools(stream)


@program
def weights_without_gradients(stream: Stream, leaves: Leaves) -> Tensor:
    stream.enter(0)
    stream.update(leaves.along_tokens(), leaves.along_width())
    hidden = stream.project(leaves.along_width().detach()).tanh()
    stream.update(hidden, leaves.along_width())
    return stream.project_tokens(leaves.along_tokens().detach()).sin().sum(dim=(-1, -2))


def gradients(stream: Stream, size: Size, run: Program) -> tuple[Tensor, list[Tensor | None]]:
    leaves = Leaves(size)
    total = run(stream, leaves)
    (total * normal(5, *total.shape)).sum().backward()
    return total.detach(), [leaf.grad for leaf in leaves.made]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("norm", ["frozen", "none"])
@pytest.mark.parametrize("size", [Size(3, 4), Size(1, 4), Size(3, 1), Size(1, 1)], ids=str)
def test_gradients_are_those_of_autograd(name: str, norm: str, size: Size) -> None:
    total, found = gradients(size.stream(Factored, norm), size, PROGRAMS[name])
    expected_total, expected = gradients(size.stream(Materialised, norm), size, PROGRAMS[name])
    torch.testing.assert_close(total, expected_total, rtol=1e-10, atol=1e-10)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_order_of_the_backward_pass_does_not_depend_on_the_loss() -> None:
    """Terms are weighed so that autograd would reach the products in another order."""
    size = Size()

    def run(stream: Stream, leaves: Leaves) -> Tensor:
        terms = []
        for layer in range(3):
            stream.enter(layer)
            stream.update(leaves.along_tokens(), leaves.along_width())
            terms.append(read(stream, leaves))
        total = terms[0].exp().tanh()
        for term in terms[1:]:
            total = total + term
        return total

    found, expected = (gradients(size.stream(kind), size, run)[1] for kind in (Factored, Materialised))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["frozen", "none"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_nan_stays_with_its_member(name: str, norm: str) -> None:
    size = Size()

    def of_poisoned(value: float | None) -> tuple[Tensor, list[Tensor | None]]:
        def run(stream: Stream, leaves: Leaves) -> Tensor:
            thin = leaves.thin

            def poisoned(*arguments: int | bool, **options: int | bool) -> Tensor:
                leaf = thin(*arguments, **options)
                with torch.no_grad():
                    leaf[1] = leaf[1] if value is None else value
                return leaf

            leaves.thin = poisoned  # type: ignore[method-assign]
            return PROGRAMS[name](stream, leaves)

        return gradients(size.stream(Factored, norm), size, run)

    (total, found), (healthy_total, healthy) = of_poisoned(float("nan")), of_poisoned(None)
    assert torch.equal(total[[0, 2]], healthy_total[[0, 2]])
    assert total[1].isnan().all()
    for one, other in zip(found, healthy, strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            assert torch.equal(one[[0, 2]], other[[0, 2]])


def test_a_member_alone_equals_itself_in_company() -> None:
    size, alone = Size(), Size(members=1)
    company, mine = Leaves(size), []
    total = a_chain_of_layers(size.stream(Factored), company)
    total.sum().backward()

    class Copied(Leaves):
        def thin(self, *arguments: int | bool, **options: int | bool) -> Tensor:
            mine.append(company.made[len(mine)][1:2].detach().clone().requires_grad_())
            return mine[-1]

    lone = a_chain_of_layers(alone.stream(Factored), Copied(alone))
    lone.sum().backward()
    torch.testing.assert_close(lone[0], total[1], rtol=1e-12, atol=1e-12)
    for leaf, theirs in zip(mine, company.made, strict=True):
        torch.testing.assert_close(leaf.grad[0], theirs.grad[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("run", [a_chain_of_layers, weights_that_differ_from_image_to_image])
def test_micro_batches_add_up(run: Program) -> None:
    size = Size()
    whole, found = gradients(size.stream(Factored), size, run)
    factors, results = normal(5, *whole.shape), []
    for images in (slice(0, 1), slice(1, 4)):
        features = FrozenFeatures(size.features().activations[images], torch.float64)
        leaves = Leaves(size)
        total = run(size.stream(Factored, features=features), leaves)
        (total * factors[:, images]).sum().backward()
        results.append((total.detach(), [leaf.grad for leaf in leaves.made]))
    torch.testing.assert_close(
        torch.cat([total for total, _ in results], dim=1), whole, rtol=1e-12, atol=1e-12
    )
    for first, second, both in zip(results[0][1], results[1][1], found, strict=True):
        torch.testing.assert_close(first + second, both, rtol=1e-10, atol=1e-12)


@pytest.fixture
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_collection")
@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_kept_alive(name: str, backward: bool) -> None:
    """After the backward pass by a loss that is still there, without one by nothing."""
    size = Size()
    features, leaves = size.features(), Leaves(size)
    stream = size.stream(Factored, features=features)
    kept = [weakref.ref(features.bases(SITES, "frozen")[0].normalised), weakref.ref(stream._tape)]  # type: ignore[attr-defined]
    loss = PROGRAMS[name](stream, leaves).sum()
    del features, stream
    if backward:
        loss.backward()
    else:
        del loss
    assert [ref() for ref in kept] == [None, None]


def test_the_gradient_is_taken_once() -> None:
    total = a_chain_of_layers(Size().stream(Factored), Leaves(Size())).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"^the gradient of a factored stream was taken already"):
        total.backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", PROGRAMS)
def test_without_gradients(name: str, mode: Callable[[], torch.no_grad]) -> None:
    size = Size()
    expected = PROGRAMS[name](size.stream(Factored), Leaves(size))
    with mode():
        found = PROGRAMS[name](size.stream(Factored), Leaves(size))
    assert not found.requires_grad
    # Not bit for bit: torch multiplies broadcast matrices in another way in inference mode.
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["frozen", "none"])
def test_bfloat16_is_close(norm: str) -> None:
    size = Size(3, 8)

    def run(stream: Stream, leaves: Leaves) -> Tensor:
        for layer in range(3):
            stream.enter(layer)
            stream.update(stream.project(leaves.along_width() * 0.3).tanh(), leaves.along_width() * 0.3)
            tokens = stream.project_tokens(leaves.along_tokens() * 0.3).tanh()
            stream.update(leaves.along_tokens() * 0.3, tokens)
        pooled = stream.pool("mean")
        assert pooled.dtype == torch.float64, "that of the activations"
        return pooled

    exact, expected = gradients(size.stream(Factored, norm), size, run)
    rough, found = gradients(size.stream(Factored, norm, size.features(torch.bfloat16)), size, run)
    assert (rough - exact).norm() < 0.01 * exact.norm()
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert other is not None
        assert one.dtype == torch.float64, "that of the parameters"
        assert (one - other).norm() < 0.03 * other.norm()


def test_layer_norm_is_not_linear() -> None:
    with pytest.raises(AssertionError, match="not linear"):
        Size().stream(Factored, "layer")
