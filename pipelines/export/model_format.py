"""The interface of the kinds of files that hold a model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor
from torch.export import ExportedProgram

from losa.pipelines.export.graph import Images

Run = Callable[[Images], Mapping[str, Tensor]]
"""Runs a model: class scores ``(images, classes)``, by the name of the output."""


class ModelFormat(Protocol):
    """A kind of file that holds a model."""

    def prepare(self) -> None:
        """Import what writing needs, before anything is computed.

        Raises:
            LosaError: a package is not installed; the message says how to install it.
        """

    def save(self, program: ExportedProgram, names: tuple[str, ...], path: Path) -> None:
        """Write a traced model, with outputs of these names.

        Raises:
            LosaError: the format cannot express the model.
        """

    def load(self, path: Path) -> Run:
        """Open a file as the programs do that it is meant for, on the CPU."""
