"""Writes a classifier to a file of a model, with a description beside it, and checks what it wrote."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from losa.adapt import TrainedSideNetwork
from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import sync_folder
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export.agreement import Agreement, compare
from losa.pipelines.export.description import describe
from losa.pipelines.export.graph import ClassifierGraph, trace
from losa.pipelines.export.model_format import ModelFormat
from losa.pipelines.export.onnx_file import OnnxFile
from losa.pipelines.export.torch_file import TorchFile

MODEL_FORMATS: dict[str, ModelFormat] = {".pt2": TorchFile(), ".onnx": OnnxFile()}
"""By the suffix of the file's name."""


def write_model(
    path: Path, classifier: Classifier, trained: Mapping[str, TrainedSideNetwork], files: Sequence[str]
) -> Agreement:
    """Write a model and ``<path>.json``, if the model does what the classifier does; see `compare`.

    Args:
        path: file to write, with a suffix of `MODEL_FORMATS`; an existing one is replaced.
        classifier: the classifier, on the CPU.
        trained: its side networks, by name.
        files: paths of images for the check.

    Raises:
        LosaError: the model cannot be traced or converted, an image cannot be read, or the scores differ.
            Nothing is written then.
    """
    form = MODEL_FORMATS[path.suffix]
    graph = ClassifierGraph(classifier)
    names = tuple(output.name for output in graph.outputs)
    program = trace(graph)
    # The final names in a folder of their own: an ONNX file holds the name of the file of its weights.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
        written = Path(temporary) / path.name
        form.save(program, names, written)
        try:
            agreement = compare(graph, form.load(written), files)
        except LosaError as error:
            raise LosaError(f"{path}: checked and removed: {error}") from error
        description = describe(trained, graph.outputs, agreement)
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        description_path(written).write_text(text, encoding="utf-8")
        _move(Path(temporary), path)
    return agreement


def description_path(path: Path) -> Path:
    """The file beside a model that describes it."""
    return path.with_name(f"{path.name}.json")


def _move(folder: Path, path: Path) -> None:
    """Move files to their final folder, durably, and the model last: where it is, the others are, too."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        file.replace(path.with_name(file.name))
    sync_folder(path.parent)
