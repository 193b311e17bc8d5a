"""Every side network against formulas written without the stream, and alone against in company."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks import SIDE_NETWORKS, SideNetwork, make_side_network
from losa.adapt.side_networks.dropout import Dropout
from losa.adapt.streams import NORM_EPS, FrozenFeatures, Materialised, Stream
from losa.cache_format import LosaError
from losa.cache_format.identity import TokenLayout
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT

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
    ("mlp", {"pool": "cls"}),
    ("mlp", {"pool": "mean"}),
    ("linear", {"pool": "cls"}),
    ("linear", {"pool": "mean"}),
]
variants = pytest.mark.parametrize(
    ("side", "options"), VARIANTS, ids=["-".join(map(str, (side, *o.values()))) for side, o in VARIANTS]
)


OPTIONS: dict[str, Any] = {
    "side": "losa",
    "rank": 4,
    "heads": 2,
    "order": "channel_token",
    "norm": "frozen",
    "pool": "cls",
    "bias": False,
    "start": "last",
}


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def normalise(x: Tensor, frozen: Tensor, norm: str, eps: float = NORM_EPS) -> Tensor:
    """Over the width; ``frozen`` are the frozen features within x."""
    if norm == "none":
        return x
    of = x if norm == "layer" else frozen
    mean = of.mean(dim=-1, keepdim=True)
    variance = ((of - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Self-attention, head by head; all (images, tokens, rank)."""
    size = query.shape[-1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        similarity = torch.exp(query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size))
        outputs.append(similarity / similarity.sum(dim=-1, keepdim=True) @ value[..., part])
    return torch.cat(outputs, dim=-1)


Weights = dict[str, Tensor]
"""Parameters of one member, without the members axis."""


def losa(b: list[Tensor], weights: Weights, architecture: Architecture) -> Tensor:
    """``y_i = g_i(b_i + y_{i-1}) + y_{i-1}, y_0 = b_L``; b and y are (images, tokens, width)."""

    def channel_mlp(x: Tensor, i: int, frozen: Tensor) -> Tensor:
        hidden = normalise(x, frozen, architecture.norm) @ weights["channel_down"][i].T
        if architecture.bias:
            hidden = hidden + weights["channel_down_bias"][i]
        out = gelu(hidden) @ weights["channel_up"][i]
        return out + weights["channel_up_bias"][i][0] if architecture.bias else out

    def token_mlp(x: Tensor, i: int, frozen: Tensor) -> Tensor:
        columns = normalise(x, frozen, architecture.norm).transpose(1, 2)  # (images, width, tokens)
        hidden = columns @ weights["token_down"][i].T
        if architecture.bias:
            hidden = hidden + weights["token_down_bias"][i]
        out = gelu(hidden) @ weights["token_up"][i]
        if architecture.bias:
            out = out + weights["token_up_bias"][i][0]
        return out.transpose(1, 2)

    mlps = [channel_mlp, token_mlp]
    if architecture.order == "token_channel":
        mlps.reverse()
    start = b[-1] if architecture.start == "last" else b[0]
    y = start
    for i in range(len(b)):
        x = b[i] + y
        first = mlps[0](x, i, b[i] + start)
        second = mlps[1](x + first, i, b[i] + start)
        y = first + second + y
    return y


def last(z: list[Tensor], weights: Weights, architecture: Architecture) -> Tensor:
    """``u_i = LSA_i(u_{i-1} + z_i)``, corrected: ``u_m - sum_{i<m} z_i``."""

    def attention(x: Tensor, i: int, frozen: Tensor) -> Tensor:
        x = normalise(x, frozen, architecture.norm) * weights["norm_weight"][i] + weights["norm_bias"][i]
        Q, K, V = (x @ A.T for A in weights["query_key_value"][i].split(architecture.rank))
        return attend(Q, K, V, architecture.heads) @ weights["up"][i]

    u = torch.zeros_like(z[0])
    for i in range(len(z)):
        x = u + z[i]
        u = x + attention(x, i, torch.stack(z[: i + 1]).sum(dim=0))
    return u - sum(z[:-1], torch.zeros_like(u))


def relay(z: list[Tensor], weights: Weights, architecture: Architecture) -> Tensor:
    """``x += gelu(S N(x)^T + c)^T (w * (softmax(G N(x)^T) N(x)))``, relay by relay."""
    updates = torch.zeros_like(z[0])
    for i in range(len(z)):
        frozen = torch.stack(z[: i + 1]).sum(dim=0)
        x = normalise(frozen + updates, frozen, architecture.norm)
        added = torch.zeros_like(updates)
        for each in range(architecture.rank):
            attention = torch.exp(x @ weights["gather"][i, each])
            attention = attention / attention.sum(dim=1, keepdim=True)
            gathered = (attention[:, :, None] * x).sum(dim=1, keepdim=True)
            taken = gelu(x @ weights["scatter"][i, each] + weights["scatter_bias"][i, each])
            added = added + taken[:, :, None] * (weights["scale"][i, each] * gathered)
        updates = updates + added
    return z[-1] + updates


def lst(z: list[Tensor], weights: Weights, architecture: Architecture) -> Tensor:
    """``h_i = block_i(g_i D_i z_i + (1 - g_i) h_{i-1})``, projected up and added to the last site."""

    def down(i: int) -> Tensor:
        return normalise(z[i], z[i], architecture.norm) @ weights["down"][i].T

    def norm(x: Tensor, name: str, *block: int) -> Tensor:
        return (
            normalise(x, x, "layer") * weights[f"{name}_norm_weight"][block]
            + weights[f"{name}_norm_bias"][block]
        )

    def block(x: Tensor, i: int) -> Tensor:
        Q, K, V = (
            norm(x, "attention", i) @ A.T for A in weights["query_key_value"][i].split(architecture.rank)
        )
        x = x + attend(Q, K, V, architecture.heads) @ weights["attention_out"][i].T
        return x + gelu(norm(x, "mlp", i) @ weights["mlp_in"][i].T) @ weights["mlp_out"][i].T

    h = down(0)
    for i in range(1, len(z)):
        gate = 1 / (1 + torch.exp(-weights["gate"][i - 1] / 0.1))
        h = block(gate * down(i) + (1 - gate) * h, i - 1)
    return z[-1] + norm(h, "last") @ weights["up"]


def last_site(z: list[Tensor], weights: Weights, architecture: Architecture) -> Tensor:
    return z[-1]


REPRESENTATIONS: dict[str, Callable[[list[Tensor], Weights, Architecture], Tensor]] = {
    "losa": losa,
    "last": last,
    "relay": relay,
    "lst": lst,
    "linear": last_site,
    "mlp": last_site,
    "attentive": last_site,
}


def attentive_pool(x: Tensor, weights: Weights, architecture: Architecture) -> Tensor:
    """Query by query, channel by channel."""
    x = normalise(x, x, architecture.norm)
    images, _, width = x.shape
    pooled = torch.zeros(images, width, dtype=x.dtype)
    for channel in range(width):
        query = weights["query"][channel * architecture.heads // width]
        similarity = torch.exp(x @ query / math.sqrt(width))
        attention = similarity / similarity.sum(dim=-1, keepdim=True)
        pooled[:, channel] = (attention * x[:, :, channel]).sum(dim=-1)
    return pooled


def reference_scores(weights: Weights, network: SideNetwork, activations: Tensor) -> Tensor:
    """Scores of one member."""
    architecture, features = network.architecture, network.features
    y = REPRESENTATIONS[architecture.side](list(activations.unbind(dim=1)), weights, architecture)
    assert features.tokens.frames == 1
    if architecture.side == "attentive":
        pooled = attentive_pool(y, weights, architecture)
    else:
        pooled = y[:, 0] if architecture.pool == "cls" else y[:, features.tokens.prefix :].mean(dim=1)
    if features.final_norm is not None:
        pooled = normalise(pooled, pooled, "layer", features.final_norm.eps)
        pooled = pooled * torch.from_numpy(features.constants[NORM_WEIGHT])
        pooled = pooled + torch.from_numpy(features.constants[NORM_BIAS])
    if architecture.side == "mlp":
        pooled = gelu(pooled @ weights["hidden_weight"].T + weights["hidden_bias"])
    return pooled @ weights["head.weight"] + weights["head.bias"]


def frozen(activations: Tensor) -> FrozenFeatures:
    return FrozenFeatures(activations, activations.dtype)


def loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The members' cross entropies, added up."""
    return torch.stack([functional.cross_entropy(member, targets) for member in scores]).sum()


def member_of(network: SideNetwork, member: int) -> Weights:
    """Parameters of one member as leaves of their own."""
    return {
        name: value[member].detach().clone().requires_grad_() for name, value in network.named_parameters()
    }


def copy_member(network: SideNetwork, member: int, alone: SideNetwork) -> None:
    theirs = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(theirs[name][member : member + 1])


@pytest.fixture
def make_network(make_features: Any) -> Callable[..., SideNetwork]:
    """``make_network(side, seeds, features, **options)``: freshly initialised, in float64."""

    def make(
        side: str, seeds: Sequence[int] = (0,), features: FeatureSpec | None = None, **options: Any
    ) -> SideNetwork:
        architecture = Architecture(**(OPTIONS | {"side": side} | options))
        return make_side_network(architecture, features or make_features(), 3, seeds).double()

    return make


@pytest.fixture
def batch(make_features: Any, activations_of: Any) -> tuple[Tensor, Tensor]:
    """Activations of five images and their labels."""
    return activations_of(make_features()), torch.tensor([0, 2, 1, 2, 0])


def test_every_kind_has_code() -> None:
    assert tuple(REPRESENTATIONS) == KINDS
    assert {kind for kind, code in SIDE_NETWORKS.items() if code.reads_last_site_only} == {
        "linear",
        "mlp",
        "attentive",
    }


@variants
def test_formulas_of_the_papers(
    side: str, options: dict[str, Any], batch: Any, make_network: Any, randomise: Any
) -> None:
    activations, targets = batch
    network = randomise(make_network(side, (0, 1, 2), **options))
    scores = network(frozen(activations))
    loss(scores, targets).backward()
    for member in range(3):
        weights = member_of(network, member)
        expected = reference_scores(weights, network, activations)
        torch.testing.assert_close(scores[member], expected, rtol=0, atol=1e-10)
        functional.cross_entropy(expected, targets).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(
                parameter.grad[member],
                weights[name].grad,
                rtol=0,
                atol=1e-10,
                msg=lambda m, n=name: f"{n}: {m}",
            )


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
    assert torch.equal(network(frozen(activations)), probe(frozen(output)))


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
def test_steps_alone_equal_steps_in_company(side: str, batch: Any, make_network: Any) -> None:
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
    """The same for a member in any company and a batch in any parts; none at rate zero."""
    activations, _ = batch
    company = randomise(make_network(side, (3, 5, 7), **options))
    alone = make_network(side, (7,), **options)
    copy_member(company, 2, alone)
    without = company(frozen(activations))
    dropped = company(frozen(activations), Dropout(rates=(0.0, 0.5, 0.5), seeds=(3, 5, 7), step=2))
    assert torch.equal(dropped[0], without[0])
    assert side == "linear" or not torch.isclose(dropped[1:], without[1:]).all(dim=-1).any()
    parts = [
        alone(
            frozen(activations[images]), Dropout(rates=(0.5,), seeds=(7,), step=2, first_image=images.start)
        )
        for images in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1)[0], dropped[2], rtol=0, atol=1e-12)


@variants
def test_one_members_nan_leaves_the_others_alone(
    side: str, options: dict[str, Any], batch: Any, make_network: Any, randomise: Any
) -> None:
    activations, targets = batch
    network = randomise(make_network(side, (0, 1, 2), **options))
    healthy = network(frozen(activations))
    loss(healthy, targets).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[1] = float("nan")

    scores = network(frozen(activations))
    loss(scores, targets).backward()
    assert scores[1].isnan().all()
    assert torch.equal(scores[[0, 2]], healthy[[0, 2]])
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter.grad[[0, 2]], gradients[name][[0, 2]]), name


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
        gradient = parameter.grad if parameter.ndim > 2 else parameter.grad[..., None]
        per_layer = gradient.flatten(2).abs().amax(dim=-1)
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


def vit_b16(sites: int) -> FeatureSpec:
    names = ("embed", *(f"block.{index:02d}" for index in range(12)))
    return FeatureSpec(sites=names[-sites:], tokens=TokenLayout(cls=1, registers=0, grid=(14, 14)), width=768)


def body(sites: int, seeds: tuple[int, ...] = (0,), **options: Any) -> int:
    """Parameters of one member without its head."""
    network = make_side_network(Architecture(**(OPTIONS | options)), vit_b16(sites), 100, seeds)
    return network.parameter_count() - network.head_parameter_count()


@pytest.mark.parametrize("side", KINDS)
def test_parameters_of_the_head(side: str) -> None:
    network = make_side_network(Architecture(**(OPTIONS | {"side": side})), vit_b16(2), 100, (0, 1))
    assert network.head_parameter_count() == (OPTIONS["rank"] if side == "mlp" else 768) * 100 + 100


@pytest.mark.parametrize(("rank", "millions"), [(4, 0.093), (8, 0.185), (16, 0.371), (32, 0.741)])
def test_parameters_of_losa(rank: int, millions: float) -> None:
    found = body(12, side="losa", rank=rank)
    assert found == 12 * (2 * 768 * rank + 2 * 197 * rank)
    assert round(found / 1e6, 3) == millions


def test_parameters_of_losa_with_biases() -> None:
    plain, biased = (body(12, side="losa", rank=8, bias=bias) for bias in (False, True))
    assert biased - plain == 12 * (8 + 768 + 8 + 197)


def test_parameters_of_last() -> None:
    assert body(13, side="last", rank=16, heads=4) == 658_944


def test_parameters_of_relay() -> None:
    assert body(12, side="relay", rank=8) == 12 * (3 * 768 * 8 + 8)


def test_parameters_of_lst() -> None:
    downs, up, norm = 13 * 768 * 96, 96 * 768, 2 * 96
    block = 4 * 96**2 + 2 * 96 * 384 + 2 * norm + 1
    assert body(13, side="lst", rank=96) == downs + 12 * block + norm + up == 2_364_108


def test_parameters_of_the_probes() -> None:
    assert body(1, side="linear") == 0
    assert body(1, side="mlp", rank=16) == 768 * 16 + 16
    assert body(1, side="attentive", heads=12) == 768 * 12


@pytest.mark.parametrize("side", KINDS)
def test_parameters_are_counted_for_one_member(side: str) -> None:
    assert body(2, (0, 1, 2), side=side) == body(2, side=side)


def test_cls_pool_needs_a_cls_token(make_features: Any, make_network: Any) -> None:
    with pytest.raises(LosaError, match=r"^pool=cls: this backbone has no class token; use pool=mean$"):
        make_network("losa", (0,), make_features(cls=0), pool="cls")


def test_the_attentive_probe_needs_no_cls_token(make_features: Any, make_network: Any) -> None:
    make_network("attentive", (0,), make_features(cls=0), pool="cls")


@pytest.mark.parametrize("side", ["last", "lst"])
def test_rank_is_a_multiple_of_the_heads(side: str, make_network: Any) -> None:
    with pytest.raises(LosaError, match=rf"^rank=6: side={side} needs a multiple of heads=4$"):
        make_network(side, rank=6, heads=4)


def test_width_is_a_multiple_of_the_attentive_heads(make_network: Any) -> None:
    message = r"^heads=3: side=attentive needs a divisor of the features' width, 8$"
    with pytest.raises(LosaError, match=message):
        make_network("attentive", heads=3)
