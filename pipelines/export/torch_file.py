"""Models in files of `torch.export`: they run in PyTorch, without the code of losa and timm."""

import io
from pathlib import Path

import torch
from torch.export import ExportedProgram

from losa.pipelines.export.model_format import Run


class TorchFile:
    """A `ModelFormat`; the dictionary that the model returns has the names of the outputs."""

    def prepare(self) -> None:
        """See `ModelFormat`."""

    def save(self, program: ExportedProgram, names: tuple[str, ...], path: Path) -> None:  # noqa: ARG002
        """See `ModelFormat`."""
        # Not to the path: where the disk is full, torch ends the process instead of raising an error.
        content = io.BytesIO()
        torch.export.save(program, content)
        path.write_bytes(content.getbuffer())

    def load(self, path: Path) -> Run:
        """See `ModelFormat`."""
        run: Run = torch.export.load(path).module()
        return run
