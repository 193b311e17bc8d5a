"""The formulas of the side networks for one member, in plain torch: without losa's streams, layers and heads.

They are those of docs/methods.md, written out head by head, relay by relay and channel by channel.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks import SideNetwork
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT

NORM_EPS = 1e-6
"""Added to the variance in every norm but the backbone's."""


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


def softmax(x: Tensor) -> Tensor:
    """Over the last axis."""
    powers = torch.exp(x - x.amax(dim=-1, keepdim=True))
    return powers / powers.sum(dim=-1, keepdim=True)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Self-attention, head by head; all (images, tokens, rank)."""
    size = query.shape[-1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        similarity = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
        outputs.append(softmax(similarity) @ value[..., part])
    return torch.cat(outputs, dim=-1)


Weights = dict[str, Tensor]
"""Parameters of one member, without the members axis."""


def losa(b: list[Tensor], weights: Weights, architecture: Architecture, frames: int) -> Tensor:
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

    def mlp_along(columns: Tensor, i: int, axis: str) -> Tensor:
        """Of (..., columns, axis)."""
        hidden = columns @ weights[f"space_time.{axis}_down"][i].T
        if architecture.bias:
            hidden = hidden + weights[f"space_time.{axis}_down_bias"][i]
        out = gelu(hidden) @ weights[f"space_time.{axis}_up"][i]
        return out + weights[f"space_time.{axis}_up_bias"][i][0] if architecture.bias else out

    def space_and_time(x: Tensor, i: int, frozen: Tensor) -> Tensor:
        x = normalise(x, frozen, architecture.norm)
        images, tokens, width = x.shape
        x = x.view(images, frames, tokens // frames, width)
        in_space = mlp_along(x.transpose(2, 3), i, "space").transpose(2, 3)
        in_time = mlp_along(x.permute(0, 2, 3, 1), i, "time").permute(0, 3, 1, 2)
        return (in_space + in_time).reshape(images, tokens, width)

    mlps = [channel_mlp, space_and_time if architecture.mixing == "factorised" else token_mlp]
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


def last(z: list[Tensor], weights: Weights, architecture: Architecture, frames: int) -> Tensor:
    """``u_i = LSA_i(u_{i-1} + z_i)``, corrected: ``u_m - sum_{i<m} z_i``."""

    def among(x: Tensor, matrices: Tensor, times: Tensor | None) -> Tensor:
        """Attention among tokens; ``times`` are added to queries, keys and values: (tokens, 3 rank)."""
        QKV = x @ matrices.T
        if times is not None:
            QKV = QKV + times
        return attend(*QKV.split(architecture.rank, dim=-1), architecture.heads)

    def attention(x: Tensor, i: int, frozen: Tensor) -> Tensor:
        x = normalise(x, frozen, architecture.norm) * weights["norm_weight"][i] + weights["norm_bias"][i]
        matrices, up, rank = weights["query_key_value"][i], weights["up"][i], architecture.rank
        if frames == 1:
            return among(x, matrices, None) @ up
        times = weights["time.embedding"][i].T
        tokens = x.shape[1]
        positions = tokens // frames
        if architecture.mixing == "joint":
            return among(x, matrices, times.repeat_interleave(positions, dim=0)) @ up
        out = torch.zeros_like(x)
        for frame in range(frames):
            here = torch.arange(tokens) // positions == frame
            out[:, here] = out[:, here] + among(x[:, here], matrices[: 3 * rank], None) @ up[:rank]
        for position in range(positions):
            here = torch.arange(tokens) % positions == position
            out[:, here] = out[:, here] + among(x[:, here], matrices[3 * rank :], times) @ up[rank:]
        return out

    u = torch.zeros_like(z[0])
    for i in range(len(z)):
        x = u + z[i]
        u = x + attention(x, i, torch.stack(z[: i + 1]).sum(dim=0))
    return u - sum(z[:-1], torch.zeros_like(u))


def relay(z: list[Tensor], weights: Weights, architecture: Architecture, frames: int) -> Tensor:
    """``x += gelu(S N(x)^T + c)^T (w * (softmax(G N(x)^T) N(x)))``, relay by relay."""
    updates = torch.zeros_like(z[0])
    positions = z[0].shape[1] // frames
    joint = architecture.mixing != "factorised"
    for i in range(len(z)):
        frozen = torch.stack(z[: i + 1]).sum(dim=0)
        x = normalise(frozen + updates, frozen, architecture.norm)
        added = torch.zeros_like(updates)
        for each in range(architecture.rank):
            logits, taken = x @ weights["gather"][i, each], x @ weights["scatter"][i, each]
            if joint and frames > 1:
                times = weights["time.embedding"][i].repeat_interleave(positions, dim=-1)
                logits, taken = logits + times[each], taken + times[architecture.rank + each]
            taken = gelu(taken + weights["scatter_bias"][i, each])
            gathered = []
            for part, of_part in zip(
                logits.split(positions if not joint else len(logits[0]), dim=1),
                x.split(positions if not joint else len(logits[0]), dim=1),
                strict=True,
            ):
                gathered.append((softmax(part)[:, :, None] * of_part).sum(dim=1, keepdim=True))
            if not joint:
                between = weights["between_frames"][i, each]
                mixed = [
                    sum(between[frame, other] * gathered[other] for other in range(frames))
                    for frame in range(frames)
                ]
                gathered = [
                    (own + mix).expand(-1, positions, -1) for own, mix in zip(gathered, mixed, strict=True)
                ]
            added = added + taken[:, :, None] * (weights["scale"][i, each] * torch.cat(gathered, dim=1))
        updates = updates + added
    return z[-1] + updates


def lst(z: list[Tensor], weights: Weights, architecture: Architecture, frames: int) -> Tensor:
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


def last_site(z: list[Tensor], weights: Weights, architecture: Architecture, frames: int) -> Tensor:
    return z[-1]


REPRESENTATIONS: dict[str, Callable[[list[Tensor], Weights, Architecture, int], Tensor]] = {
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
        attention = softmax(x @ query / math.sqrt(width))
        pooled[:, channel] = (attention * x[:, :, channel]).sum(dim=-1)
    return pooled


def token_pool(y: Tensor, features: FeatureSpec, architecture: Architecture) -> Tensor:
    """The class token or the mean of the patches, frame by frame."""
    layout = features.tokens
    frames = []
    for frame in y.chunk(layout.frames, dim=1):
        patches = frame[:, layout.cls + layout.registers :]
        frames.append(frame[:, 0] if architecture.pool == "cls" else patches.mean(dim=1))
    return torch.stack(frames).mean(dim=0)


def final_norm(pooled: Tensor, features: FeatureSpec) -> Tensor:
    """The norm of the backbone, with its frozen weight and bias."""
    norm, constants = features.final_norm, features.constants
    if norm is None:
        return pooled
    if norm.kind == "rms_norm":
        pooled = pooled / torch.sqrt((pooled**2).mean(dim=-1, keepdim=True) + norm.eps)
    else:
        pooled = normalise(pooled, pooled, "layer", norm.eps)
    pooled = pooled * torch.from_numpy(constants[NORM_WEIGHT])
    return pooled + torch.from_numpy(constants[NORM_BIAS]) if NORM_BIAS in constants else pooled


def scores_by_formula(weights: Weights, network: SideNetwork, activations: Tensor) -> Tensor:
    """Scores of one member."""
    architecture, features = network.architecture, network.features
    frames = features.tokens.frames
    y = REPRESENTATIONS[architecture.side](list(activations.unbind(dim=1)), weights, architecture, frames)
    if architecture.side == "attentive":
        pooled = attentive_pool(y, weights, architecture)
    else:
        pooled = token_pool(y, features, architecture)
    pooled = final_norm(pooled, features)
    if architecture.side == "mlp":
        pooled = gelu(pooled @ weights["hidden_weight"].T + weights["hidden_bias"])
    scores = pooled @ weights["head.weight"] + weights["head.bias"]
    if "probe.weight" in weights:
        pooled = final_norm(token_pool(activations[:, -1], features, architecture), features)
        of_probe = pooled @ weights["probe.weight"] + weights["probe.bias"]
        share = architecture.probe_share
        scores = (1 - share) * scores + share * of_probe
    return scores


@pytest.fixture
def representations() -> dict[str, Callable[..., Tensor]]:
    """For each kind, the formula of the stream that its pooling starts from."""
    return REPRESENTATIONS


@pytest.fixture
def reference_scores() -> Callable[[Weights, SideNetwork, Tensor], Tensor]:
    """``reference_scores(weights, network, activations)``: class scores of one member by its formula."""
    return scores_by_formula


@pytest.fixture
def batch(make_features: Any, activations_of: Any) -> tuple[Tensor, Tensor]:
    """Activations of five images and their labels."""
    return activations_of(make_features()), torch.tensor([0, 2, 1, 2, 0])
