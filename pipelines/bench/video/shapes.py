"""Shapes of the large vision transformers that video was published with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneShape:
    """A vision transformer without its weights."""

    depth: int
    """Blocks."""
    width: int
    hidden: int
    """Hidden units of the MLP of a block."""
    grid: int = 16
    """Tokens along an edge of a frame: patches of 14 x 14 of 224 x 224 pixels."""

    @property
    def parameters(self) -> int:
        """Weights of the matrices of all blocks."""
        return self.depth * (4 * self.width**2 + 2 * self.width * self.hidden)

    @property
    def frame_flops(self) -> int:
        """Operations for a frame: two for each weight and token, and those of the attention."""
        tokens = self.grid**2
        return 2 * tokens * self.parameters + 4 * self.depth * tokens**2 * self.width


SHAPES = {
    "vit-e": BackboneShape(depth=56, width=1792, hidden=15360),
    "vit-g": BackboneShape(depth=40, width=1408, hidden=6144),
    "vit-l": BackboneShape(depth=24, width=1024, hidden=4096),
    "vit-b": BackboneShape(depth=12, width=768, hidden=3072),
}
"""ViT-e: Chen et al., PaLI (arXiv 2209.06794). ViT-g: Zhai et al. (arXiv 2106.04560)."""
