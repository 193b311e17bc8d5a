"""A classifier as a graph of tensors, which other programs run for any number of images."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from losa.cache_format import LosaError
from losa.cache_format.identity import Preprocessing
from losa.extract.causes import short_cause
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export.outputs import INPUT, outputs_of

Images = Float[Tensor, "images channels height columns"]
_ADVICE = "The side networks themselves can be exported without it, to a folder: to=<folder>/"


class ClassifierGraph(nn.Module):
    """A classifier whose outputs are in one dictionary.

    Attributes:
        classifier: the classifier, on the CPU.
        outputs: what its outputs are.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.outputs = outputs_of(classifier.networks)
        self.eval()

    def forward(self, images: Images) -> dict[str, Tensor]:
        """Class scores ``(images, classes)`` in float32, by the name of the output."""
        scores = [part for columns in self.classifier(images).values() for part in columns.values()]
        return {output.name: part for output, part in zip(self.outputs, scores, strict=True)}


def trace(graph: ClassifierGraph) -> ExportedProgram:
    """Trace a classifier with `torch.export`, for any number of images.

    Raises:
        LosaError: its backbone cannot be traced; the message says why.
    """
    networks = graph.classifier.networks
    # Two, because torch takes a batch of one for a constant.
    images = drawn_images(networks.preprocessing, 2)
    try:
        # In a context of its own within the graph, each no_grad would become a graph inside it.
        with torch.no_grad():
            return torch.export.export(graph, (images,), dynamic_shapes={INPUT: {0: Dim.DYNAMIC}})
    except Exception as error:  # the code of a model of timm may fail in any way on symbolic shapes
        raise LosaError(
            f"torch.export of torch {torch.__version__} cannot trace the backbone {networks.backbone.name}: "
            f"{short_cause(error)}\n{_ADVICE}"
        ) from error


def drawn_images(preprocessing: Preprocessing, count: int) -> Images:
    """Inputs of pixels that are drawn at random, the same in each call."""
    pixels = torch.rand(count, *preprocessing.input_size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std
