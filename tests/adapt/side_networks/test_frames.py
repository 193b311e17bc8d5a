"""What the battery says of side networks, for clips of several frames."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from losa.adapt.side_networks import SIDE_NETWORKS, SideNetwork
from losa.adapt.side_networks.dropout import Dropout, DropoutKeys
from losa.adapt.streams import FactoredFrames, FrozenFeatures, MaterialisedFrames

FRAMES = 3
MIXED = ("losa", "last", "relay")
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *(
        (side, {"mixing": mixing, "norm": norm, "pool": pool})
        for side in MIXED
        for mixing in ("joint", "factorised")
        for norm, pool in (("frozen", "cls"), ("frozen", "mean"), ("none", "mean"), ("layer", "mean"))
    ),
    *(
        ("losa", {"mixing": "factorised", "norm": norm, "order": order, "bias": True, "pool": "mean"})
        for norm, order in (
            ("frozen", "token_channel"),
            ("none", "channel_token"),
            ("layer", "token_channel"),
        )
    ),
    ("last", {"mixing": "factorised", "norm": "frozen", "pool": "mean", "heads": 4}),
]
variants = pytest.mark.parametrize(
    ("side", "options"), VARIANTS, ids=["-".join(map(str, (side, *o.values()))) for side, o in VARIANTS]
)


@pytest.fixture
def features(make_features: Any) -> Any:
    return make_features(frames=FRAMES, sites=2)


@pytest.fixture
def clips(features: Any, activations_of: Any) -> tuple[Tensor, Tensor]:
    """Activations of five clips and their labels."""
    return activations_of(features), torch.tensor([0, 2, 1, 2, 0])


def frozen(activations: Tensor) -> FrozenFeatures:
    return FrozenFeatures(activations, activations.dtype)


def loss(scores: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([functional.cross_entropy(member, targets) for member in scores]).sum()


@variants
def test_scores_and_gradients_are_those_of_the_formulas(
    side: str,
    options: dict[str, Any],
    features: Any,
    clips: Any,
    make_network: Any,
    randomise: Any,
    reference_scores: Any,
) -> None:
    activations, targets = clips
    network: SideNetwork = randomise(make_network(side, (0, 1), features, **options))
    scores = network(frozen(activations))
    loss(scores, targets).backward()
    for member in range(2):
        weights = {
            name: value[member].detach().clone().requires_grad_()
            for name, value in network.named_parameters()
        }
        expected = reference_scores(weights, network, activations)
        torch.testing.assert_close(scores[member], expected, rtol=1e-10, atol=1e-10)
        functional.cross_entropy(expected, targets).backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(
                parameter.grad[member],
                weights[name].grad,
                rtol=1e-8,
                atol=1e-9,
                msg=lambda text, name=name: f"{name}: {text}",
            )


@variants
def test_starts_as_the_linear_probe(
    side: str, options: dict[str, Any], features: Any, clips: Any, make_network: Any
) -> None:
    network = make_network(side, (4, 5), features, **options)
    probe = make_network("linear", (4, 5), features, pool=options["pool"])
    torch.testing.assert_close(network(frozen(clips[0])), probe(frozen(clips[0])), rtol=1e-12, atol=1e-12)


@variants
def test_a_member_alone_equals_itself_in_company_with_dropout_in_micro_batches(
    side: str, options: dict[str, Any], features: Any, clips: Any, make_network: Any, randomise: Any
) -> None:
    activations, _ = clips
    company = randomise(make_network(side, (3, 5, 7), features, **options))
    alone = make_network(side, (7,), features, **options)
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(company.get_parameter(name)[2:])

    def dropout(rates: tuple[float, ...], seeds: tuple[int, ...], first_image: int = 0) -> Dropout:
        keys = partial(DropoutKeys(seeds, "cpu").at, step=2)
        return Dropout(rates=torch.tensor(rates), keys=keys, first_image=first_image)

    dropped = company(frozen(activations), dropout((0.0, 0.5, 0.5), (3, 5, 7)))
    without = company(frozen(activations))
    assert torch.equal(dropped[0], without[0])
    assert not torch.isclose(dropped[1:], without[1:]).all(dim=-1).any()
    parts = [
        alone(frozen(activations[rows]), dropout((0.5,), (7,), first_image=rows.start))
        for rows in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1)[0], dropped[2], rtol=0, atol=1e-11)


@pytest.mark.parametrize("side", MIXED)
def test_factorised_mixing_forms_no_x_unless_the_norm_needs_it(
    side: str, features: Any, clips: Any, make_network: Any
) -> None:
    for norm, kind in (("frozen", FactoredFrames), ("none", FactoredFrames), ("layer", MaterialisedFrames)):
        network = make_network(side, (0,), features, mixing="factorised", norm=norm)
        assert type(network.open_stream(frozen(clips[0]))) is kind


def turned_around(activations: Tensor) -> Tensor:
    """The clips with their frames in reverse order."""
    return activations.unflatten(2, (FRAMES, -1)).flip(2).flatten(2, 3)


@pytest.mark.parametrize("mixing", ["joint", "factorised"])
@pytest.mark.parametrize("side", MIXED)
def test_the_order_of_frames_matters(
    side: str, mixing: str, features: Any, clips: Any, make_network: Any, randomise: Any
) -> None:
    network = randomise(make_network(side, (0,), features, mixing=mixing, pool="mean"))
    forth, back = (network(frozen(each)) for each in (clips[0], turned_around(clips[0])))
    assert (forth - back).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.parametrize("side", sorted({*SIDE_NETWORKS} - {*MIXED}))
def test_but_not_to_probes_and_lst(
    side: str, features: Any, clips: Any, make_network: Any, randomise: Any
) -> None:
    network = randomise(make_network(side, (0,), features, pool="mean"))
    forth, back = (network(frozen(each)) for each in (clips[0], turned_around(clips[0])))
    torch.testing.assert_close(forth, back, rtol=0, atol=1e-12)


def test_auto_factorises_clips_and_says_nothing_of_images(make_features: Any, make_network: Any) -> None:
    assert make_network("losa", (0,), make_features(frames=2)).architecture.mixing == "factorised"
    assert make_network("losa", (0,), make_features(), mixing="factorised").architecture.mixing is None


@pytest.mark.parametrize(
    ("side", "mixing", "expected"),
    [
        ("losa", "factorised", 2 * (2 * 8 * 4 + 2 * (6 + FRAMES) * 4)),
        ("losa", "joint", 2 * (2 * 8 * 4 + 2 * 6 * FRAMES * 4)),
        ("last", "factorised", 2 * (8 * 8 * 4 + 2 * 8 + 3 * 4 * FRAMES)),
        ("last", "joint", 2 * (4 * 8 * 4 + 2 * 8 + 3 * 4 * FRAMES)),
        ("relay", "factorised", 2 * (3 * 8 * 4 + 4 + 4 * FRAMES**2)),
        ("relay", "joint", 2 * (3 * 8 * 4 + 4 + 2 * 4 * FRAMES)),
    ],
)
def test_parameters(side: str, mixing: str, expected: int, features: Any, make_network: Any) -> None:
    network = make_network(side, (0,), features, mixing=mixing)
    assert network.parameter_count() - network.head_parameter_count() == expected
