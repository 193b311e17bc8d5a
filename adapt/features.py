"""Shapes and constants of the features that side networks read."""

from dataclasses import dataclass, field

import numpy as np

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import FinalNorm, TokenLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """Shapes and constants of the activations of some sites of one backbone."""

    sites: tuple[str, ...]
    """Names along the sites axis."""
    tokens: TokenLayout
    width: int
    """Number of channels of a token."""
    final_norm: FinalNorm | None = None
    """The norm that the head applies to the pooled stream; None: it applies none."""
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    """Weights of the final norm: ``final_norm.weight`` and ``final_norm.bias``, each float32 (width,)."""

    def refuse_cls_pool(self) -> None:
        """Refuse ``pool=cls`` where there is no cls token.

        Raises:
            LosaError: there is none.
        """
        if not self.tokens.cls:
            raise LosaError("pool=cls: this backbone has no class token; use pool=mean or pool=auto")
