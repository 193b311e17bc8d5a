"""One battery for every implementation of `FrameStream`, against numpy in float64 that forms x."""

import numpy as np
import pytest
import torch

from losa.adapt.streams import (
    NORM_EPS,
    FactoredFrames,
    FrameStream,
    FrozenFeatures,
    MaterialisedFrames,
    StreamSites,
)
from losa.cache_format.identity import TokenLayout

MEMBERS, IMAGES, FRAMES, POSITIONS, WIDTH, RANK = 2, 3, 4, 5, 6, 2
TOKENS = TokenLayout(cls=1, registers=0, grid=(2, 2), frames=FRAMES)
VARIANTS = [
    *((MaterialisedFrames, norm) for norm in ("layer", "frozen", "none")),
    *((FactoredFrames, norm) for norm in ("frozen", "none")),
]
"""A further implementation is one more line here."""
SHAPES = {
    "width": (MEMBERS, RANK, WIDTH),
    "tokens": (MEMBERS, RANK, FRAMES * POSITIONS),
    "image_tokens": (MEMBERS, IMAGES, RANK, FRAMES * POSITIONS),
    "image_width": (MEMBERS, IMAGES, RANK, WIDTH),
    "positions": (MEMBERS, RANK, POSITIONS),
    "frame_positions": (MEMBERS, IMAGES, FRAMES, RANK, POSITIONS),
    "frame_width": (MEMBERS, IMAGES, FRAMES, RANK, WIDTH),
    "frames": (MEMBERS, RANK, FRAMES),
    "position_width": (MEMBERS, IMAGES, RANK, POSITIONS, WIDTH),
}
UPDATES = {
    "thin": ("update", "image_tokens", "width"),
    "bias": ("update", "tokens", "width"),
    "both": ("update", "image_tokens", "image_width"),
    "space": ("update_space", "positions", "frame_width"),
    "relay": ("update_space", "frame_positions", "frame_width"),
    "time": ("update_time", "frames", "position_width"),
}
PROJECTIONS = {
    "project": "width",
    "project_tokens": "tokens",
    "project_space": "positions",
    "project_time": "frames",
}


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)

    def draw(kind: str) -> torch.Tensor:
        return torch.randn(*SHAPES[kind], generator=generator, dtype=torch.float64).requires_grad_()

    return draw


@pytest.fixture
def activations() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(IMAGES, 3, TOKENS.count, WIDTH, generator=generator, dtype=torch.float64)


def opened(kind: type[FrameStream], activations: torch.Tensor, norm: str) -> FrameStream:
    features = FrozenFeatures(activations, torch.float64)
    sites = StreamSites(layers=((0,), (0, 1)), output=2)
    return kind(features, sites, members=MEMBERS, norm=norm, tokens=TOKENS)


class Reference:
    """The definition: x as (members, images, frames, positions, width)."""

    def __init__(self, activations: torch.Tensor, norm: str) -> None:
        x = activations.numpy().reshape(IMAGES, 3, FRAMES, POSITIONS, WIDTH)
        self.bases, self.output, self.norm = (x[:, 0], x[:, 0] + x[:, 1]), x[:, 2], norm
        self.sums = np.zeros((MEMBERS, *self.output.shape))

    def enter(self, layer: int) -> None:
        self.base = self.bases[layer]

    def normalised(self) -> np.ndarray:
        x = self.base + self.sums
        if self.norm == "none":
            return x
        of = x if self.norm == "layer" else self.base
        return (x - of.mean(-1, keepdims=True)) / np.sqrt(of.var(-1, keepdims=True) + NORM_EPS)

    def project(self, weight: np.ndarray) -> np.ndarray:
        found = np.einsum("mrd,mnfpd->mnrfp", weight, self.normalised())
        return found.reshape(*found.shape[:3], -1)

    def project_tokens(self, weight: np.ndarray) -> np.ndarray:
        x = self.normalised().reshape(MEMBERS, IMAGES, TOKENS.count, WIDTH)
        return np.einsum("mnrt,mntd->mnrd", np.broadcast_to(weight[:, None], SHAPES["image_tokens"]), x)

    def project_space(self, weight: np.ndarray) -> np.ndarray:
        return np.einsum("mnfrp,mnfpd->mnfrd", self.spread(weight), self.normalised())

    def project_time(self, weight: np.ndarray) -> np.ndarray:
        return np.einsum("mrf,mnfpd->mnrpd", weight, self.normalised())

    def update(self, u: np.ndarray, v: np.ndarray) -> None:
        u = np.broadcast_to(u if u.ndim == 4 else u[:, None], (MEMBERS, IMAGES, RANK, TOKENS.count))
        v = np.broadcast_to(v if v.ndim == 4 else v[:, None], (MEMBERS, IMAGES, RANK, WIDTH))
        u = u.reshape(MEMBERS, IMAGES, RANK, FRAMES, POSITIONS)
        self.sums = self.sums + np.einsum("mnrfp,mnrd->mnfpd", u, v)

    def update_space(self, u: np.ndarray, v: np.ndarray) -> None:
        self.sums = self.sums + np.einsum("mnfrp,mnfrd->mnfpd", self.spread(u), v)

    def update_time(self, u: np.ndarray, v: np.ndarray) -> None:
        self.sums = self.sums + np.einsum("mrf,mnrpd->mnfpd", u, v)

    def pool(self, kind: str) -> np.ndarray:
        chosen = slice(0, 1) if kind == "cls" else slice(1, None)
        return (self.output + self.sums)[:, :, :, chosen].mean((2, 3))

    @staticmethod
    def spread(weight: np.ndarray) -> np.ndarray:
        weight = weight if weight.ndim == 5 else weight[:, None, None]
        return np.broadcast_to(weight, SHAPES["frame_positions"])


@pytest.mark.parametrize(("kind", "norm"), VARIANTS)
@pytest.mark.parametrize("order", [tuple(UPDATES), tuple(reversed(UPDATES))])
def test_every_product_after_every_update_is_the_definition(kind, norm, order, draw, activations):
    stream, reference = opened(kind, activations, norm), Reference(activations, norm)
    for layer, updates in enumerate((order[:3], order[3:])):
        stream.enter(layer)
        reference.enter(layer)
        for update in ("none", *updates):
            if update != "none":
                method, u, v = UPDATES[update]
                u, v = draw(u), draw(v)
                getattr(stream, method)(u, v)
                getattr(reference, method)(u.detach().numpy(), v.detach().numpy())
            for method, shape in PROJECTIONS.items():
                weight = draw(shape)
                found = getattr(stream, method)(weight).detach().numpy()
                expected = getattr(reference, method)(weight.detach().numpy())
                np.testing.assert_allclose(
                    found, expected, rtol=1e-10, atol=1e-10, err_msg=f"{update} {method}"
                )
            weight = draw("frame_positions")
            found = stream.project_space(weight).detach().numpy()
            expected = reference.project_space(weight.detach().numpy())
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
            for pool in ("cls", "mean"):
                np.testing.assert_allclose(
                    stream.pool(pool).detach().numpy(), reference.pool(pool), atol=1e-10
                )


@pytest.mark.parametrize("norm", ["frozen", "none"])
def test_gradients_are_those_of_the_plain_stream(norm, activations):
    """Each projection feeds an update, as in a side network; the loss depends on all of them."""
    found = {}
    for kind in (FactoredFrames, MaterialisedFrames):
        generator = torch.Generator().manual_seed(2)

        def draw(name: str, generator: torch.Generator = generator) -> torch.Tensor:
            drawn = torch.randn(*SHAPES[name], generator=generator, dtype=torch.float64)
            return (drawn * 0.3).requires_grad_()

        stream, parameters = opened(kind, activations, norm), []
        for layer in range(2):
            stream.enter(layer)
            names = ("width", "width", "positions", "positions", "frames", "frames", "width", "tokens")
            down, up, space, spread, time, over, one, bias = drawn = [draw(name) for name in names]
            parameters += drawn
            stream.update(stream.project(down).tanh(), up)
            in_space, in_time = stream.project_space(space).tanh(), stream.project_time(time).tanh()
            stream.update_space(spread, in_space)
            stream.update_time(over, in_time)
            stream.update(bias, one)
        loss = stream.pool("mean").square().sum() + stream.project(parameters[0]).sum()
        found[kind] = torch.autograd.grad(loss, parameters)
    for ours, plain in zip(*found.values(), strict=True):
        assert plain.abs().max() > 1e-6
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def test_members_and_images_do_not_mix(draw, activations):
    stream = opened(FactoredFrames, activations, "frozen")
    stream.enter(0)
    u, v = draw("frames"), draw("position_width")
    with torch.no_grad():
        v[1, 2, 0, 0, 0] = float("nan")
    stream.update_time(u, v)
    for found in (stream.project_time(draw("frames")), stream.project_space(draw("positions"))):
        broken = found.isnan().flatten(2).any(-1)
        assert broken[1, 2]
        assert broken.sum() == 1
