"""One measurement of `losa-bench fused`, and an estimate of the memory it needs."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from losa.adapt.architecture import Norm
from losa.adapt.training.recorded_steps import Compile
from losa.cache_format.identity import TokenLayout
from losa.pipelines.bench.matrix_rate import Dtype

Method = Literal["factored", "plain", "vmap", "lora"]
PlainSide = Literal["losa", "last", "relay"]
"""Side networks that exist in plain PyTorch too."""


class Shape(NamedTuple):
    """Shape of an image's activations."""

    sites: int
    tokens: int
    width: int


SHAPES = {
    "demo": Shape(3, 65, 160),
    "deit-tiny": Shape(12, 197, 192),
    "vit-b": Shape(12, 197, 768),
}
"""Those of losa-demo (losa_tiny), with a cls token added, and of DeiT-Tiny and ViT-B at 224 pixels."""

COMPILE: dict[str, Compile] = {"auto": "auto", "true": True, "false": False}
"""Values of ``--compile``, which are those of the option of losa-adapt."""

NUM_CLASSES = 10
PATCH = 16
"""Pixels along an edge of the square of an image that becomes a token."""
USUAL_MICRO_BATCH_SIZE = 10
"""Images of a micro-batch, for the estimate of memory."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A method and everything that determines its computation. The default shape is that of a ViT-B/16."""

    method: Method
    dtype: Dtype
    members: int
    side: PlainSide = "losa"
    rank: int = 8
    heads: int = 4
    norm: Norm = "frozen"
    sites: int = 12
    tokens: int = 197
    width: int = 768
    depth: int = 12
    """Blocks of the backbone that LoRA is trained through."""
    batch: int = 50
    micro_batch_size: int | None = None
    """Images that the factored network computes at once; None to choose by free memory."""
    steps: int = 3
    """Timed steps, after a first one."""
    seconds: float = 180.0
    """Time limit of all steps: no step begins that should end later. The first one always runs."""
    device: str = "cpu"
    compile: Compile = "auto"
    """The option of losa-adapt, for the factored network."""
    threads: int | None = None
    """Threads of torch; None for its own choice."""

    @property
    def grid(self) -> int:
        """Tokens along an edge of the image."""
        return math.isqrt(self.tokens - 1)

    @property
    def layout(self) -> TokenLayout:
        """The cls token, then a square."""
        return TokenLayout(cls=1, registers=0, grid=(self.grid, self.grid))

    @property
    def itemsize(self) -> int:
        """Bytes of a number of ``dtype``."""
        return 4 if self.dtype == "float32" else 2


def needed_bytes(setting: Setting) -> int:
    """Estimate of the bytes that a step allocates beside its batch.

    They are parameters with their gradients and AdamW's two moments, the tensors kept for the backward pass,
    and a few temporaries. The estimate keeps a measurement from exhausting the machine's memory. It is within
    a factor of two of measurements on small batches in the shape of a ViT-B.
    """
    one = setting.tokens * setting.width
    if setting.method == "lora":
        # Frozen weights; then for each block the outputs of its layers, about 16 times a token's width.
        weights = setting.depth * 12 * setting.width**2 * 4
        return weights + setting.batch * setting.depth * 16 * one * setting.itemsize
    thin = setting.rank * (setting.tokens + setting.width)
    mixes = 2 if setting.side == "losa" else 1
    rows = {
        "losa": 2 * thin,
        "last": 4 * setting.rank * setting.width,
        "relay": 3 * setting.rank * setting.width,
    }
    trained = setting.sites * rows[setting.side]
    states = setting.members * trained * 4 * 4
    if setting.method == "factored":
        images = setting.micro_batch_size or min(setting.batch, USUAL_MICRO_BATCH_SIZE)
        bases = images * setting.sites * one * (4 + setting.itemsize)
        kept = setting.members * images * setting.sites * thin * 8 * setting.itemsize
        return states + bases + kept
    x = setting.batch * one * setting.itemsize
    kept = (3 * mixes * setting.sites + 6) * x * setting.members
    return states + kept + 3 * setting.batch * one * 4
