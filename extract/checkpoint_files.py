"""The tensors in a file of weights, read without running code of the file."""

import argparse
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from losa.cache_format.errors import LosaError
from losa.extract.causes import short_cause


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """The content of a file of safetensors or of `torch.save`: tensors by name, possibly in further mappings.

    Raises:
        LosaError: it is neither, or holds objects of Python whose reading could run code.
    """
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            # Training scripts, timm's among them, save their options beside the weights: plain values.
            torch.serialization.add_safe_globals([argparse.Namespace])
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LosaError(
            f"{path} holds more than tensors and plain values, and was not read, because that could run code "
            f"of the file: {short_cause(error)}\n"
            "Expected are weights alone, as in torch.save(model.state_dict(), <file>), or safetensors"
        ) from None
    except Exception as error:  # whatever a damaged file makes of a reader
        raise LosaError(
            f"{path} cannot be read as weights: expected *.safetensors, *.npz or a file of torch.save: "
            f"{short_cause(error)}"
        ) from error
    if not isinstance(content, Mapping) or not any(True for _ in named_tensors(content)):
        raise LosaError(f"{path}: expected tensors by name, found {type(content).__name__} without any")
    return content


def named_tensors(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested mappings, with its dotted name.

    >>> [name for name, _ in named_tensors({"model": {"head.bias": torch.zeros(2)}, "epoch": 3})]
    ['model.head.bias']
    """
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from named_tensors(value, f"{prefix}{key}.")
