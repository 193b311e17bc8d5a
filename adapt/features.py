"""Shapes and constants of the features that side networks read."""

from dataclasses import dataclass, field

import numpy as np

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import FinalNorm, TokenLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """Shapes and constants of the activations of some sites of one backbone."""

    sites: tuple[str, ...]
    tokens: TokenLayout
    width: int
    final_norm: FinalNorm | None = None
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    """Weights of the final norm: ``final_norm.weight`` and ``final_norm.bias``, each (width,)."""

    def refuse_cls_pool(self) -> None:
        """Raise a LosaError if there is no cls token, which ``pool=cls`` needs."""
        if not self.tokens.cls:
            raise LosaError("pool=cls: this backbone has no class token; use pool=mean or pool=auto")
