"""A frozen timm model that returns its activations at named sites."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import BackboneIdentity, FinalNorm, SiteGroup
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT
from losa.cache_format.sites import EMBED, SiteSelection, select_sites
from losa.extract.preprocessing import preprocessing_of
from losa.extract.taps import BlockTaps, tap
from losa.extract.weights import hash_weights


class FrozenBackbone:
    """A timm model in eval mode, whose parameters require no gradients."""

    def __init__(
        self,
        model: nn.Module,
        name: str,
        *,
        img_size: tuple[int, int] | None = None,
        architecture: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        """Freeze a model and find out the shape of its activations.

        Args:
            model: a timm model.
            name: name of the model, for the identity.
            img_size: height and width of the images, if not those of the model's data configuration.
            architecture: timm's name of the architecture, for the identity, where the name does not tell it.
            arguments: arguments the model was made with, for the identity.
            origin: where the weights come from, for the manifest's provenance.

        Raises:
            LosaError: losa cannot read activations of this model; the message says why.
        """
        self.model = model.eval().requires_grad_(False)
        self.origin = dict(origin or {})
        try:
            self.preprocessing = preprocessing_of(model)
            if img_size is not None:
                channels = self.preprocessing.input_size[0]
                self.preprocessing = replace(self.preprocessing, input_size=(channels, *img_size))
            self._taps = tap(model, self.preprocessing.input_size)
        except LosaError as error:
            raise LosaError(f"backbone.name={name}: {error}") from None
        self.sites = tuple(self._taps.shapes)
        """Names of all sites of this backbone, from input to output."""
        self.identity = BackboneIdentity(
            name=name,
            weights_sha256=hash_weights(model),
            depth=sum(site != EMBED for site in self.sites),
            architecture=architecture,
            arguments=dict(arguments or {}),
        )
        # What follows a stage differs from network to network: a norm, pooling, a block of attention.
        plain = isinstance(self._taps, BlockTaps)
        self.final_norm, self.final_norm_constants = _final_norm(model) if plain else (None, {})

    def group(self, selection: SiteSelection) -> SiteGroup:
        """The selected sites and the shape of their activations.

        Raises:
            LosaError: the selection is wrong, or the activations at the selected sites have different shapes.
        """
        sites = select_sites(selection, self.sites)
        shapes = self._taps.shapes
        shape = shapes[sites[-1]]
        if any(shapes[site] != shape for site in sites):
            listed = "\n".join(f"  {site}: {shapes[site]}" for site in self.sites)
            same = [site for site in self.sites if site != EMBED and shapes[site] == shape]
            raise LosaError(
                f"sites={selection}: a cache holds activations of one shape, and those at {sites[0]} and "
                f"{sites[-1]} of backbone.name={self.identity.name} differ:\n{listed}\n"
                f"Select sites of one shape, for example sites=[{','.join(same)}]"
            )
        return SiteGroup(sites=sites, tokens=shape.tokens, width=shape.width)

    def activations(
        self, images: Float[Tensor, "images channels height columns"], sites: Sequence[str]
    ) -> Float[Tensor, "images sites tokens width"]:
        """Run the backbone and return its activations at some sites of one shape.

        They are in float32 or the dtype of autocast; see `losa.extract.precision.precision`.
        """
        if images.shape[0] == 0:  # timm's models fail on an empty batch
            shape = self._taps.shapes[sites[0]]
            return images.new_empty(0, len(sites), shape.tokens.count, shape.width)
        with torch.no_grad():
            return torch.stack(self._taps.read(images, sites), dim=1)


def _final_norm(model: nn.Module) -> tuple[FinalNorm | None, dict[str, np.ndarray]]:
    """The norm after the last block or, in models that pool before it, after the pooling."""
    for name in ("norm", "fc_norm"):
        norm = getattr(model, name, None)
        if norm is None or isinstance(norm, nn.Identity):
            continue
        kind: Literal["layer_norm", "rms_norm"]
        if isinstance(norm, nn.LayerNorm):
            kind = "layer_norm"
        elif "rmsnorm" in type(norm).__name__.lower():
            kind = "rms_norm"
        else:
            return None, {}
        constants = {NORM_WEIGHT: norm.weight} if isinstance(norm.weight, Tensor) else {}
        bias = getattr(norm, "bias", None)
        if isinstance(bias, Tensor):
            constants[NORM_BIAS] = bias
        arrays = {key: value.detach().float().numpy() for key, value in constants.items()}
        return FinalNorm(kind=kind, eps=float(cast(Any, norm).eps)), arrays
    return None, {}
