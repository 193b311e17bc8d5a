"""Weights of a file into a backbone, whatever is saved with them: prefixes, EMA copies, heads, decoders."""

import logging
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
from torch import Tensor, nn

from losa.cache_format.errors import LosaError
from losa.extract.causes import short_cause
from losa.extract.checkpoint_files import named_tensors, read_checkpoint
from losa.extract.weights import backbone_tensors, head_names

_log = logging.getLogger(__name__)

_EMA = re.compile(r"(^|[._])ema([._]|$)")
_POSITIONS = re.compile(r"(^|[._])pos([._]|$)|position")
_JAX_POSITIONS = "Transformer/posembed_input/pos_embedding"
_OTHER_MODEL = (
    "backbone.args={...} makes the model with other arguments, and backbone.img_size=<size> for images of "
    "another size"
)
_OTHER_SIZE = (
    "backbone.img_size=<the size it was trained with> makes a model of that size; "
    "backbone.img_size=<any other> resamples the position embeddings to that one"
)


def load_checkpoint(model: nn.Module, path: Path, *, resample: bool) -> None:
    """Load the weights of a file into a timm model.

    losa does not run the classification head: it is loaded if it fits. If the file holds the backbone twice,
    its EMA copy is taken.

    Args:
        model: a model that timm made.
        path: file of safetensors, of `torch.save`, or of numpy (`.npz`) as the JAX code of ViT saves it.
        resample: whether position embeddings of another image size are resampled.

    Raises:
        LosaError: the file cannot be read or does not fit the model; what does not fit is named.
    """
    architecture = cast(Any, model).pretrained_cfg["architecture"]
    content = None if path.suffix == ".npz" else read_checkpoint(path)
    try:
        if content is None:
            _load_jax(model, path, resample)
        else:
            _load(model, path, content, resample)
    except LosaError as error:
        raise LosaError(f"{path} does not fit {architecture}: {error}") from error


def _load(model: nn.Module, path: Path, content: Mapping[str, Any], resample: bool) -> None:
    prefix = _prefix_of_backbone(content, backbone_tensors(model))
    if prefix is not None:
        beside = {name.split(".")[0] for name, _ in named_tensors(content) if not name.startswith(prefix)}
        if prefix:
            others = f"; not used: {', '.join(sorted(beside))}" if beside else ""
            _log.info("%s: the weights are those under %r%s", path, prefix, others)
        content = {
            name.removeprefix(prefix): value
            for name, value in named_tensors(content)
            if name.startswith(prefix)
        }
    tensors = {
        name: value for name, value in _in_timms_names(model, content).items() if isinstance(value, Tensor)
    }
    heads = head_names(model)
    loaded = {name: value for name, value in tensors.items() if name.split(".")[0] not in heads}
    _refuse_misfits(model, loaded, content)
    resampled = _resampled(model, loaded, content)
    if resampled and not resample:
        raise LosaError(f"{_listed(resampled, '; ')}: it is of another image size\n{_OTHER_SIZE}")
    for change in resampled:
        _log.info("%s: resampled %s", path, change)
    known = model.state_dict()
    unused = {name.split(".")[0] for name in loaded if name not in known}
    if unused:
        _log.warning("%s: not of the backbone, and not used: %s", path, ", ".join(sorted(unused)))
    fitting = {
        name: value for name, value in tensors.items() if name in known and value.shape == known[name].shape
    }
    model.load_state_dict(fitting, strict=False)


def _prefix_of_backbone(content: Mapping[str, Any], expected: Collection[str]) -> str | None:
    """What precedes the names of the backbone's tensors; None if fewer than half of them have timm's names.

    Raises:
        LosaError: several copies of the backbone are in the file, and none or several of them are an EMA.
    """
    found: Counter[str] = Counter()
    for name, _ in named_tensors(content):
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                found["".join(f"{part}." for part in parts[:start])] += 1
    most = max(found.values(), default=0)
    if 2 * most < len(expected):
        return None
    copies = [prefix for prefix, count in found.items() if count == most]
    copies = [prefix for prefix in copies if _EMA.search(prefix)] or copies
    if len(copies) > 1:
        raise LosaError(
            f"the backbone is in it {len(copies)} times, under {', '.join(map(repr, copies))}\n"
            "Save the tensors of one of them as a file of their own"
        )
    return copies[0]


def _in_timms_names(model: nn.Module, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Weights as timm converts them from their authors' form; it resamples them to the model's shapes."""
    architecture = cast(Any, model).pretrained_cfg["architecture"]
    module = sys.modules[timm.models.model_entrypoint(architecture).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return content
    try:
        return cast(Mapping[str, Any], convert(dict(content), model))
    except Exception as error:  # it may fail in any way on weights of another architecture
        raise LosaError(f"timm cannot convert it: {short_cause(error)}") from error


def _refuse_misfits(model: nn.Module, loaded: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    expected = backbone_tensors(model)
    # A counter of batches has no effect in eval mode, and old files do not have it.
    missing = [name for name in expected if name not in loaded and not name.endswith("num_batches_tracked")]
    problems = [f"it lacks {_listed(missing)}"] if missing else []
    # timm resamples kernels of patches, too: those of another size are of another architecture.
    sizes = {value.numel() for _, value in named_tensors(content)}
    unfit = []
    for name in [name for name in expected if name in loaded]:
        kernel = name.startswith("patch_embed.") and loaded[name].numel() not in sizes
        if loaded[name].shape != expected[name].shape or kernel:
            found = content[name] if kernel and name in content else loaded[name]
            unfit.append(f"{name} is {_shape(found)}, expected {_shape(expected[name])}")
    if unfit:
        problems.append(_listed(unfit, "; "))
    # Such as register tokens, for which the model has an attribute, but no tensor.
    foreign = [
        name for name in loaded if name not in model.state_dict() and hasattr(model, name.split(".")[0])
    ]
    if foreign:
        problems.append(f"the model has no {_listed(foreign)}")
    if problems:
        raise LosaError(f"{'; '.join(problems)}\n{_OTHER_MODEL}")


def _resampled(model: nn.Module, loaded: Mapping[str, Tensor], content: Mapping[str, Any]) -> list[str]:
    """Description of every tensor of positions for which timm changed the number of positions."""
    before = {name: value for name, value in named_tensors(content) if _POSITIONS.search(name)}
    # timm may keep positions of prefix tokens in these tokens instead.
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    changes = []
    for name, after in loaded.items():
        sources = [before[name]] if name in before else list(before.values())
        if not _POSITIONS.search(name) or not sources:
            continue
        if all(abs(one.numel() - after.numel()) > prefix * after.shape[-1] for one in sources):
            changes.append(f"{name} from {_shape(sources[0])} to {_shape(after)}")
    return changes


def _load_jax(model: nn.Module, path: Path, resample: bool) -> None:
    """Load an archive of numpy by the model's own function, which resamples without being asked."""
    if not hasattr(model, "load_pretrained"):
        raise LosaError("timm reads archives of numpy for vision transformers and mixers only")
    try:
        with np.load(path) as arrays:
            positions = arrays[_JAX_POSITIONS].shape if _JAX_POSITIONS in arrays else None
        if positions is not None and not resample:
            expected = cast(Any, model).pos_embed
            if positions[1] != expected.shape[1]:
                raise LosaError(
                    f"{_JAX_POSITIONS} is {tuple(positions)}, and pos_embed of the model {_shape(expected)}: "
                    f"it is of another image size\n{_OTHER_SIZE}"
                )
        cast(Any, model).load_pretrained(str(path))
    except LosaError:
        raise
    except Exception as error:  # whatever a damaged archive makes of a reader
        raise LosaError(f"it cannot be read: {short_cause(error)}") from error


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _listed(items: list[str], separator: str = ", ") -> str:
    """The first five of some items, and how many there are besides."""
    return separator.join(items[:5]) + (f" and {len(items) - 5} others" if len(items) > 5 else "")
