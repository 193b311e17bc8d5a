"""Models in ONNX files, which ONNX Runtime and many other programs run."""

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from losa.cache_format import LosaError
from losa.extract.causes import short_cause
from losa.pipelines.export.graph import Images
from losa.pipelines.export.model_format import Run
from losa.pipelines.export.outputs import INPUT

BATCH = "batch"
"""Name of the first axis of the input and of the outputs."""


class OnnxFile:
    """A `ModelFormat`. Weights of more than 1.5 GiB lie in a file ``<name>.data`` beside it."""

    def prepare(self) -> None:
        """See `ModelFormat`."""
        for package in ("onnx", "onnxruntime", "onnxscript"):
            try:
                import_module(package)
            except ImportError as error:
                raise LosaError(
                    f"ONNX files need {package}, which cannot be imported ({error}): pip install 'losa[onnx]'"
                ) from None

    def save(self, program: ExportedProgram, names: tuple[str, ...], path: Path) -> None:
        """See `ModelFormat`."""
        from onnx_ir.passes.common import NameFixPass

        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes={INPUT: {0: BATCH}},
            )
            assert exported is not None, "there is no program for the older exporter only"
        except Exception as error:  # the converter may fail in any way on an operation that it does not know
            raise LosaError(
                f"torch.onnx of torch {torch.__version__} cannot convert the model: {short_cause(error)}\n"
                "A file of torch.export can hold it: to=<name>.pt2"
            ) from error
        # The name of a label column may be that of a value within the graph, such as linear.
        NameFixPass()(exported.model)
        exported.save(path)

    def load(self, path: Path) -> Run:
        """See `ModelFormat`."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(images: Images) -> dict[str, Tensor]:
            found = session.run(names, {INPUT: images.numpy()})
            return {name: torch.from_numpy(scores) for name, scores in zip(names, found, strict=True)}

        return run
