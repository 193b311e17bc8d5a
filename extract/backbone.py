"""A frozen timm model that returns its activations at named sites."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import BackboneIdentity, FinalNorm, SiteGroup, TokenLayout
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT
from losa.cache_format.sites import EMBED, SiteSelection, is_sum
from losa.cache_format.sums import backbone_selection, summed_sites
from losa.extract.grid_pooling import Grid, pool_grid, pooled_layout
from losa.extract.preprocessing import preprocessing_of
from losa.extract.taps import BlockTaps, SiteShape, tap
from losa.extract.weights import hash_weights


class FrozenBackbone:
    """A timm model in eval mode, whose parameters require no gradients.

    Attributes:
        model: the model. Activations are computed on its device.
        sites: names of all sites of this backbone, from input to output.
        identity: what determines the activations of an input: name, architecture, hash of the weights.
        preprocessing: how an image becomes an input, by the model's own configuration.
        origin: where the weights come from, for the manifest's provenance.
        final_norm: kind and epsilon of the norm after the last block; None if there is none, or no plain list
            of blocks.
        final_norm_constants: its parameters by name, ``final_norm.weight`` and ``final_norm.bias``, as far as
            it has them: float32 ``(width,)``.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        *,
        img_size: tuple[int, int] | None = None,
        architecture: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        origin: Mapping[str, str] | None = None,
        grid: Grid | None = None,
        frames: int = 1,
    ) -> None:
        """Freeze a model and find out the shape of its activations.

        Args:
            model: a timm model.
            name: name of the model, for the identity.
            img_size: height and width of the input in pixels, if not those of the model's configuration.
            architecture: timm's name of the architecture, for the identity, where the name does not tell it.
            arguments: arguments the model was made with, for the identity.
            origin: where the weights come from, for the manifest's provenance.
            grid: height and width in tokens to which the grid is mean-pooled; None: it stays as it is.
            frames: number of frames of a clip, each of which goes through the model by itself.

        Raises:
            LosaError: losa cannot read activations of this model; the message says why.
        """
        self.model = model.eval().requires_grad_(False)
        self.origin = dict(origin or {})
        self._grid = grid
        self._frames = frames
        try:
            self.preprocessing = preprocessing_of(model)
            if img_size is not None:
                channels = self.preprocessing.input_size[0]
                self.preprocessing = replace(self.preprocessing, input_size=(channels, *img_size))
            self._taps = tap(model, self.preprocessing.input_size)
        except LosaError as error:
            raise LosaError(f"backbone.name={name}: {error}") from None
        self.sites = tuple(self._taps.shapes)
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
        """The selected sites and the shape of their activations, after pooling.

        Args:
            selection: a number of evenly spaced blocks or stages, ``"all"`` (all but ``embed``), a name, a
                sum such as ``"sum:all"``, or a list of these.

        Raises:
            LosaError: the selection is wrong, the activations at the selected sites have different shapes, or
                the grid cannot be pooled to the wanted one.
        """
        sites = backbone_selection(selection, self.sites)
        shapes = self._taps.shapes
        read = self._terms(sites)
        shape = shapes[read[-1]]
        if any(shapes[site] != shape for site in read):
            listed = "\n".join(f"  {site}: {shapes[site]}" for site in self.sites)
            same = [site for site in self.sites if site != EMBED and shapes[site] == shape]
            raise LosaError(
                f"sites={selection}: a cache holds activations of one shape, and those at {read[0]} and "
                f"{read[-1]} of backbone.name={self.identity.name} differ:\n{listed}\n"
                f"Select sites of one shape, for example sites=[{','.join(same)}]"
            )
        tokens = replace(self._pooled(shape), frames=self._frames)
        return SiteGroup(sites=sites, tokens=tokens, width=shape.width)

    def activations(
        self, images: Float[Tensor, "images *frames channels height columns"], sites: Sequence[str]
    ) -> Float[Tensor, "images sites tokens width"]:
        """Run the backbone and return its activations at some sites of one shape, after pooling.

        Sums and means are computed in float32, a sum from the input to the output of the backbone.

        Args:
            images: inputs as `preprocessing` makes them, on the device of the model. Frames of clips, on an
                axis after the images', go through the model one by one; their tokens follow each other, frame
                by frame.
            sites: names of sites of one shape, as in a `group`.

        Returns:
            Activations on the device of the model, in float32 or, inside of autocast and if there are neither
            sums nor means, in its dtype.
        """
        read = self._terms(sites)
        shape = self._taps.shapes[read[0]]
        tokens = self._pooled(shape)
        clips = images.ndim == 5
        if images.shape[0] == 0:  # timm's models fail on an empty batch
            count = tokens.count * (images.shape[1] if clips else 1)
            return images.new_empty(0, len(sites), count, shape.width)
        with torch.no_grad():
            found = self._taps.read(images.flatten(0, 1) if clips else images, read)
            if any(map(is_sum, sites)):
                terms = dict(zip(read, found, strict=True))
                found = [_sum([terms[term] for term in summed_sites(site, self.sites)]) for site in sites]
            of_frames = pool_grid(torch.stack(found, dim=1), tokens)
            if not clips:
                return of_frames
            of_clips: Tensor = of_frames.unflatten(0, images.shape[:2]).transpose(1, 2).flatten(2, 3)
            return of_clips

    def _terms(self, sites: Sequence[str]) -> list[str]:
        """The sites at which the model is read for some sites, sums among them."""
        return list(dict.fromkeys(term for site in sites for term in summed_sites(site, self.sites)))

    def _pooled(self, shape: SiteShape) -> TokenLayout:
        return shape.tokens if self._grid is None else pooled_layout(shape.tokens, self._grid)


def _sum(terms: Sequence[Tensor]) -> Tensor:
    """The sum in float32, in the order of the terms: another order, or torch's own, may round otherwise."""
    total = terms[0].float()
    for term in terms[1:]:
        total = total + term
    return total


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
