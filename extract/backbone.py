"""A frozen timm vision transformer that returns its activations at named sites."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, cast

import numpy as np
import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.cache_format.common.suggestions import nearest
from losa.cache_format.errors import LosaError
from losa.cache_format.identity import BackboneIdentity, FinalNorm, SiteGroup, TokenLayout
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT
from losa.cache_format.sites import EMBED, SiteSelection, backbone_sites, block_site, select_sites
from losa.cache_format.storage.paths import local_path
from losa.extract.config import BackboneConfig
from losa.extract.preprocessing import preprocessing_of


class FrozenBackbone:
    """A timm model in eval mode, whose parameters require no gradients."""

    def __init__(self, model: nn.Module, name: str) -> None:
        """Freeze a model and find out the shape of its activations.

        Args:
            model: a timm vision transformer with ``blocks`` that keep one token axis.
            name: name of the model, for the identity.

        Raises:
            LosaError: the model has no list of blocks, or they do not keep one token axis.
        """
        self.model = model.eval().requires_grad_(False)
        self.preprocessing = preprocessing_of(model)
        blocks = getattr(model, "blocks", None)
        if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not hasattr(model, "forward_features"):
            raise LosaError(
                f"backbone.name={name}: losa taps vision transformers with one list of blocks; "
                f"{type(model).__name__} has none"
            )
        self._blocks = list(blocks)
        self.identity = BackboneIdentity(
            name=name, weights_sha256=hash_weights(model), depth=len(self._blocks)
        )
        self.final_norm, self.final_norm_constants = _final_norm(model)
        self.tokens, self.width = self._probe(name)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of all sites of this backbone."""
        return backbone_sites(self.identity.depth)

    def group(self, selection: SiteSelection) -> SiteGroup:
        """The selected sites and the shape of their activations."""
        return SiteGroup(sites=select_sites(selection, self.sites), tokens=self.tokens, width=self.width)

    def activations(
        self, images: Float[Tensor, "images channels height columns"], sites: Sequence[str]
    ) -> Float[Tensor, "images sites tokens width"]:
        """Run the backbone and return its activations at some sites, in float32 or the dtype of autocast."""
        if not len(images):  # timm's models fail on an empty batch
            return images.new_empty(0, len(sites), self.tokens.count, self.width)
        with torch.inference_mode(), _exact_convolutions(), self._tapped(sites) as taps:
            cast(Any, self.model).forward_features(images)
        return torch.stack([taps[site] for site in sites], dim=1)

    @contextmanager
    def _tapped(self, sites: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        taps: dict[str, Tensor] = {}
        handles = []
        for index, block in enumerate(self._blocks):
            if block_site(index) in sites:
                handles.append(block.register_forward_hook(_keep_output(taps, block_site(index))))
        if EMBED in sites:
            handles.append(self._blocks[0].register_forward_pre_hook(_keep_input(taps)))
        try:
            yield taps
        finally:
            for handle in handles:
                handle.remove()

    def _probe(self, name: str) -> tuple[TokenLayout, int]:
        model = cast(Any, self.model)
        image = torch.zeros(1, *self.preprocessing.input_size)
        try:
            _, _, count, width = self.activations(image, self.sites).shape
            height, columns = model.patch_embed.grid_size
            prefix = int(model.num_prefix_tokens)
        except (RuntimeError, AttributeError, ValueError, KeyError, TypeError) as error:
            raise LosaError(
                f"backbone.name={name}: losa needs tokens of one shape (images, tokens, width) after every "
                f"block; {type(self.model).__name__} does not give them ({error})"
            ) from None
        # Not num_reg_tokens: timm's Eva models, such as DINOv3, have register tokens but no such attribute.
        register_tokens = getattr(model, "reg_token", None)
        registers = 0 if register_tokens is None else int(register_tokens.shape[1])
        layout = TokenLayout(cls=prefix - registers, registers=registers, grid=(height, columns))
        if layout.count != count:
            raise LosaError(
                f"backbone.name={name}: {count} tokens leave the blocks, "
                f"but prefix and grid make {layout.count}"
            )
        return layout, width


def load_backbone(config: BackboneConfig) -> FrozenBackbone:
    """Create a backbone with weights from a file or from timm's hub, or with random ones if requested.

    Raises:
        LosaError: the name is unknown, or the weights cannot be loaded or do not fit the model. Random
            weights never replace trained ones silently.
    """
    _refuse_unknown(config.name)
    if config.checkpoint is not None:
        checkpoint = local_path(config.checkpoint)
        if not checkpoint.is_file():
            raise LosaError(f"backbone.checkpoint: there is no file {checkpoint}")
        try:
            model = timm.create_model(config.name, pretrained=False, checkpoint_path=str(checkpoint))
        except Exception as error:
            raise LosaError(
                f"backbone.checkpoint={checkpoint} does not fit {config.name}: {_shortened(error)}"
            ) from error
    elif config.pretrained:
        try:
            model = timm.create_model(config.name, pretrained=True)
        except Exception as error:
            raise LosaError(
                f"the pretrained weights of {config.name} could not be loaded: {_shortened(error)}\n"
                "Name a file with backbone.checkpoint=<file>, or request random weights with "
                "backbone.pretrained=false"
            ) from error
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = timm.create_model(config.name, pretrained=False)
    return FrozenBackbone(model, config.name)


def autocast(device: str, dtype: str) -> Any:
    """The context in which the backbone computes: torch's autocast, except for float32."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, dtype))


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    """Make float32 convolutions exact: by default, cuDNN rounds to TF32 (10 bits of mantissa)."""
    cudnn = cast(Any, torch.backends.cudnn)
    # torch 2.9 has a precision setting for each operator; reading the older switch as well fails.
    owner, name, exact = (
        (cudnn.conv, "fp32_precision", "ieee") if hasattr(cudnn, "conv") else (cudnn, "allow_tf32", False)
    )
    before = getattr(owner, name)
    setattr(owner, name, exact)
    try:
        yield
    finally:
        setattr(owner, name, before)


def hash_weights(model: nn.Module) -> str:
    """sha256 of names, dtypes, shapes and bytes of all tensors except the classification head's."""
    heads = cast(Any, model).pretrained_cfg.get("classifier", ())
    heads = (heads,) if isinstance(heads, str) else tuple(heads or ())
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if any(name == head or name.startswith(f"{head}.") for head in heads):
            continue
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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


def _refuse_unknown(name: str) -> None:
    architecture = name.split(".")[0]
    if not timm.is_model(name):
        raise LosaError(
            f"backbone.name={name}: timm {timm.__version__} has no such model"
            f"{nearest(architecture, timm.list_models())}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        known = timm.list_pretrained(f"{architecture}.*")
        raise LosaError(
            f"backbone.name={name}: timm {timm.__version__} has no such weights of {architecture}; "
            f"there are: {', '.join(known) or 'none'}"
        ) from None


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}{'...' if len(text) > 400 else ''}"


def _keep_output(taps: dict[str, Tensor], site: str) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        taps[site] = output

    return hook


def _keep_input(taps: dict[str, Tensor]) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taps[EMBED] = inputs[0]

    return hook
