"""The tests that every side network passes: against its formula, alone and in company, and in any batches."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from losa.adapt.side_networks import SIDE_NETWORKS, SideNetwork
from losa.adapt.side_networks.dropout import Dropout, DropoutKeys
from losa.adapt.streams import FrozenFeatures, Materialised, Stream
from losa.cache_format import LosaError
from losa.cache_format.identity import FinalNorm
from losa.cache_format.metadata.constants import NORM_BIAS

KINDS = tuple(SIDE_NETWORKS)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("losa", {"norm": norm, "order": order, "bias": bias, "pool": pool})
        for norm in ("layer", "frozen", "none")
        for order in ("channel_token", "token_channel")
        for bias, pool in ((False, "cls"), (True, "mean"))
    ),
    *(
        ("last", {"norm": norm, "heads": heads, "pool": pool})
        for norm in ("layer", "frozen", "none")
        for heads, pool in ((1, "cls"), (2, "mean"), (4, "cls"))
    ),
    *(
        ("relay", {"norm": norm, "pool": pool})
        for norm in ("layer", "frozen", "none")
        for pool in ("cls", "mean")
    ),
    *(
        ("lst", {"norm": norm, "heads": heads, "pool": pool})
        for norm in ("layer", "frozen", "none")
        for heads, pool in ((1, "cls"), (2, "mean"))
    ),
    *(
        ("attentive", {"norm": norm, "heads": heads})
        for norm in ("layer", "frozen", "none")
        for heads in (1, 4)
    ),
    *(("losa", {"start": "first", "norm": norm, "pool": "mean"}) for norm in ("layer", "frozen", "none")),
    ("losa", {"probe_share": 0.25, "start": "first", "pool": "cls"}),
    ("last", {"probe_share": 0.5, "norm": "layer", "pool": "mean"}),
    ("relay", {"probe_share": 0.75, "norm": "none", "pool": "cls"}),
    ("lst", {"probe_share": 0.5, "pool": "cls"}),
    ("attentive", {"probe_share": 0.5, "norm": "layer", "heads": 4, "pool": "cls"}),
    ("attentive", {"probe_share": 0.25, "norm": "none", "heads": 1, "pool": "mean"}),
    ("mlp", {"pool": "cls"}),
    ("mlp", {"pool": "mean"}),
    ("linear", {"pool": "cls"}),
    ("linear", {"pool": "mean"}),
]
variants = pytest.mark.parametrize(
    ("side", "options"), VARIANTS, ids=["-".join(map(str, (side, *o.values()))) for side, o in VARIANTS]
)


def frozen(activations: Tensor) -> FrozenFeatures:
    return FrozenFeatures(activations, activations.dtype)


def loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The members' cross entropies, added up."""
    return torch.stack([functional.cross_entropy(member, targets) for member in scores]).sum()


def member_of(network: SideNetwork, member: int) -> dict[str, Tensor]:
    """Parameters of one member as leaves of their own."""
    return {
        name: value[member].detach().clone().requires_grad_() for name, value in network.named_parameters()
    }


def assert_equals_formula(
    network: SideNetwork, activations: Tensor, targets: Tensor, reference_scores: Any
) -> None:
    """Scores and gradients of every member."""
    scores = network(frozen(activations))
    loss(scores, targets).backward()
    for member in range(network.members):
        weights = member_of(network, member)
        expected = reference_scores(weights, network, activations)
        assert error(scores[member], expected) < 1e-12
        functional.cross_entropy(expected, targets).backward()
        for name, parameter in network.named_parameters():
            if parameter.numel():  # LST has no blocks for a single site
                assert error(parameter.grad[member], weights[name].grad) < 1e-11, name


def error(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest expected value.

    A bias before a LayerNorm has a gradient of zero, so the latter counts as 0.001 at least.
    """
    return float((found - expected).detach().abs().max() / expected.detach().abs().max().clamp(min=1e-3))


def copy_member(network: SideNetwork, member: int, alone: SideNetwork) -> None:
    theirs = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(theirs[name][member : member + 1])


def test_every_kind_has_a_formula(representations: dict[str, Any]) -> None:
    assert tuple(representations) == KINDS
    assert {kind for kind, code in SIDE_NETWORKS.items() if code.reads_last_site_only} == {
        "linear",
        "mlp",
        "attentive",
    }


@variants
def test_formulas_of_the_papers(
    side: str,
    options: dict[str, Any],
    batch: Any,
    make_network: Any,
    randomise: Any,
    reference_scores: Any,
) -> None:
    activations, targets = batch
    network = randomise(make_network(side, (0, 1, 2), **options))
    assert_equals_formula(network, activations, targets, reference_scores)


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"sites": 1},
        {"sites": 6},
        {"registers": 0, "grid": (3, 1)},
        {"registers": 4, "grid": (1, 1)},
        {"cls": 0, "registers": 0},
        {"frames": 2},
        {"norm": None},
        {"norm": FinalNorm(kind="rms_norm", eps=1e-5)},
    ],
    ids=str,
)
def test_formulas_on_features_of_any_shape(
    side: str,
    changes: dict[str, Any],
    make_features: Any,
    activations_of: Any,
    make_network: Any,
    randomise: Any,
    reference_scores: Any,
) -> None:
    features = make_features(**changes)
    if features.final_norm is not None and features.final_norm.kind == "rms_norm":
        del features.constants[NORM_BIAS]
    for pool in ("mean", "cls")[: 1 + features.tokens.cls]:
        network = randomise(make_network(side, (0, 1), features, pool=pool))
        activations = activations_of(features)
        assert_equals_formula(network, activations, torch.tensor([0, 2, 1, 2, 0]), reference_scores)


@pytest.mark.parametrize(
    ("side", "options"), [variant for variant in VARIANTS if variant[0] not in ("mlp", "attentive")], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starts_as_the_linear_probe_of_its_output(
    side: str, options: dict[str, Any], dtype: torch.dtype, batch: Any, make_network: Any
) -> None:
    activations = batch[0].to(dtype)
    network = make_network(side, (4, 5), **options).to(dtype)
    probe = make_network("linear", (4, 5), pool=options["pool"]).to(dtype)
    output = activations.flip(dims=[1]) if options.get("start") == "first" else activations
    expected = probe(frozen(output))
    if share := options.get("probe_share"):
        expected = torch.lerp(expected, probe(frozen(activations)), share)
    assert torch.equal(network(frozen(activations)), expected)


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize(
    "layout",
    [
        {"registers": 0, "grid": (3, 1)},
        {"registers": 4, "grid": (1, 1)},
        {"frames": 2},
        {"cls": 0, "registers": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("sites", [1, 4])
def test_shapes(
    side: str, layout: dict[str, Any], sites: int, make_features: Any, make_network: Any, activations_of: Any
) -> None:
    features = make_features(sites=sites, width=12, **layout)
    network = make_network(side, (0, 1), features, pool="mean")
    for images in (1, 5):
        activations = activations_of(features, images)
        assert network(frozen(activations)).shape == (2, images, 3)
    assert all(len(parameter) == 2 for parameter in network.parameters())


@variants
def test_a_member_alone_equals_itself_in_company(
    side: str, options: dict[str, Any], batch: Any, make_network: Any, randomise: Any
) -> None:
    activations, targets = batch
    company = randomise(make_network(side, (3, 5, 7, 9), **options))
    alone = make_network(side, (7,), **options)
    copy_member(company, 2, alone)
    scores, mine = company(frozen(activations)), alone(frozen(activations))
    torch.testing.assert_close(mine[0], scores[2], rtol=0, atol=1e-12)

    loss(scores, targets).backward()
    loss(mine, targets).backward()
    theirs = dict(company.named_parameters())
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(parameter.grad[0], theirs[name].grad[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", KINDS)
def test_steps_alone_equal_steps_in_company(
    side: str, batch: Any, make_network: Any, reference_scores: Any
) -> None:
    """From the initialisation that the seed gives; a third one runs the formulas."""
    activations, targets = batch
    company, alone = make_network(side, (3, 5, 7)), make_network(side, (5,))
    weights = member_of(make_network(side, (5,)), 0)
    start = {name: value.detach().clone() for name, value in weights.items()}
    parameters = ([*company.parameters()], [*alone.parameters()], [*weights.values()])
    optimizers = [torch.optim.AdamW(each, lr=0.05, weight_decay=0.1) for each in parameters]
    for _ in range(3):
        scores = [company(frozen(activations)), alone(frozen(activations))]
        scores.append(reference_scores(weights, alone, activations)[None])
        for each, optimizer in zip(scores, optimizers, strict=True):
            optimizer.zero_grad()
            loss(each, targets).backward()
            optimizer.step()

    theirs, lone = dict(company.named_parameters()), dict(alone.named_parameters())
    for name, value in weights.items():
        assert not torch.equal(value, start[name])
        torch.testing.assert_close(theirs[name][1], lone[name][0], rtol=0, atol=1e-10)
        torch.testing.assert_close(theirs[name][1], value, rtol=0, atol=1e-8)


@variants
def test_the_fast_stream_equals_the_plain_one(
    side: str, options: dict[str, Any], batch: Any, make_network: Any, randomise: Any
) -> None:
    activations, targets = batch
    network, plain = (randomise(make_network(side, (0, 1), **options)) for _ in range(2))

    def materialised(features: FrozenFeatures) -> Stream:
        sites, architecture = plain.stream_sites(), plain.architecture
        return Materialised(features, sites, members=2, norm=architecture.norm, tokens=plain.features.tokens)

    plain.open_stream = materialised
    scores, expected = network(frozen(activations)), plain(frozen(activations))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-10)
    loss(scores, targets).backward()
    loss(expected, targets).backward()
    for parameter, other in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=1e-10)


@variants
def test_dropout(side: str, options: dict[str, Any], batch: Any, make_network: Any, randomise: Any) -> None:
    """The same for a member in any company and a batch in any micro-batches; none at rate zero."""
    activations, _ = batch
    company = randomise(make_network(side, (3, 5, 7), **options))
    alone = make_network(side, (7,), **options)
    copy_member(company, 2, alone)
    without = company(frozen(activations))

    def dropout(rates: tuple[float, ...], seeds: tuple[int, ...], first_image: int = 0) -> Dropout:
        keys = partial(DropoutKeys(seeds, "cpu").at, step=2)
        return Dropout(rates=torch.tensor(rates), keys=keys, first_image=first_image)

    dropped = company(frozen(activations), dropout((0.0, 0.5, 0.5), (3, 5, 7)))
    assert torch.equal(dropped[0], without[0])
    assert side == "linear" or not torch.isclose(dropped[1:], without[1:]).all(dim=-1).any()
    micro_batches = [
        alone(frozen(activations[images]), dropout((0.5,), (7,), images.start))
        for images in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(torch.cat(micro_batches, dim=1)[0], dropped[2], rtol=0, atol=1e-12)


def test_lst_drops_what_is_projected_up(batch: Any, make_network: Any, randomise: Any) -> None:
    activations, _ = batch
    network = randomise(make_network("lst", (0, 1), pool="cls"))
    places: list[str] = []

    def drop_all(values: Tensor, place: str) -> Tensor:
        places.append(place)
        return torch.zeros_like(values)

    pooled = network.pooled(network.open_stream(frozen(activations)), drop_all)
    assert places == ["up"]
    torch.testing.assert_close(pooled, activations[:, -1, 0].expand(2, -1, -1), rtol=0, atol=1e-12)


@variants
def test_one_members_nan_leaves_the_others_alone(
    side: str, options: dict[str, Any], batch: Any, make_network: Any, randomise: Any
) -> None:
    activations, targets = batch
    network = randomise(make_network(side, (0, 1, 2), **options))
    healthy = network(frozen(activations))
    loss(healthy, targets).backward()
    grads = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[1] = float("nan")

    scores = network(frozen(activations))
    loss(scores, targets).backward()
    assert scores[1].isnan().all()
    assert torch.equal(scores[[0, 2]], healthy[[0, 2]])
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter.grad[[0, 2]], grads[name][[0, 2]]), name


@variants
def test_gradients_reach_every_parameter_after_two_steps(
    side: str, options: dict[str, Any], make_features: Any, activations_of: Any, make_network: Any
) -> None:
    # Without a norm at the end: a LayerNorm takes away what a token's bias adds to all channels alike.
    features = make_features(norm=None)
    activations, targets = activations_of(features), torch.tensor([0, 2, 1, 2, 0])
    network = make_network(side, (0, 1), features, **options)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        loss(network(frozen(activations)), targets).backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        grad = parameter.grad if parameter.ndim > 2 else parameter.grad[..., None]
        per_layer = grad.flatten(2).abs().amax(dim=-1)
        assert (per_layer > 1e-12).all(), f"{name}: {per_layer}"


@variants
def test_products_in_bfloat16(side: str, options: dict[str, Any], batch: Any, make_network: Any) -> None:
    """Parameters, scores and gradients stay in float32. One step from the start, where nothing is zero."""
    activations, targets = batch[0].float(), batch[1]
    network = make_network(side, (0, 1), **options).float()
    with torch.no_grad():
        for parameter in network.parameters():
            generator = torch.Generator().manual_seed(parameter.numel())
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        network.zero_grad()
        scores = network(FrozenFeatures(activations, dtype))
        loss(scores, targets).backward()
        assert scores.dtype == torch.float32
        found.append((scores.detach(), torch.cat([p.grad.flatten() for p in network.parameters()])))
    # LST's norms over four numbers enlarge errors that its gradients then carry.
    for tolerance, exact, rough in zip((0.03, 0.15), *found, strict=True):
        assert rough.dtype == torch.float32
        assert (rough - exact).norm() < tolerance * exact.norm()


@pytest.mark.parametrize("side", KINDS)
def test_batches_do_not_matter(side: str, batch: Any, make_network: Any, randomise: Any) -> None:
    activations, _ = batch
    network = randomise(make_network(side, (0, 1)))
    single = torch.cat(
        [network(frozen(activations[image : image + 1])) for image in range(len(activations))], dim=1
    )
    torch.testing.assert_close(network(frozen(activations)), single, rtol=0, atol=1e-12)


def test_cls_pool_needs_a_cls_token(make_features: Any, make_network: Any) -> None:
    with pytest.raises(
        LosaError, match=r"^pool=cls: this backbone has no class token; use pool=mean or pool=auto$"
    ):
        make_network("losa", (0,), make_features(cls=0), pool="cls")


def test_the_attentive_probe_needs_no_cls_token(make_features: Any, make_network: Any) -> None:
    make_network("attentive", (0,), make_features(cls=0), pool="cls")


def test_the_probe_beside_the_attentive_one_does(make_features: Any, make_network: Any) -> None:
    with pytest.raises(LosaError, match=r"^pool=cls: this backbone has no class token;"):
        make_network("attentive", (0,), make_features(cls=0), pool="cls", probe_share=0.5)


@pytest.mark.parametrize("side", ["last", "lst"])
def test_rank_is_a_multiple_of_the_heads(side: str, make_network: Any) -> None:
    with pytest.raises(LosaError, match=rf"^rank=6: side={side} needs a multiple of heads=4$"):
        make_network(side, rank=6, heads=4)


def test_width_is_a_multiple_of_the_attentive_heads(make_network: Any) -> None:
    message = r"^heads=3: side=attentive needs a divisor of the features' width, 8$"
    with pytest.raises(LosaError, match=message):
        make_network("attentive", heads=3)
