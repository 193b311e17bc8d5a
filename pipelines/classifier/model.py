"""The classifier: a frozen backbone and side networks as one PyTorch module."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from losa.adapt.trained.side_network import split_columns
from losa.adapt.trained.stacked import StackedSideNetworks
from losa.adapt.trained.stacking import stack_side_networks
from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.identity import ComputeDtype
from losa.cache_format.storage.paths import local_path
from losa.extract import FrozenBackbone
from losa.extract.config import MAX_PIXELS
from losa.extract.pixels import decode_image
from losa.extract.precision import check_precision, precision
from losa.extract.preprocessing import make_transform
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import not_now, read_file
from losa.pipelines.classifier.matching_backbone import BackboneSource, matching_backbone
from losa.pipelines.classifier.media import refuse_videos
from losa.pipelines.classifier.prediction import Prediction, predictions
from losa.pipelines.classifier.side_network_folders import load_side_networks

ImageInput = str | os.PathLike[str] | bytes | Image.Image
"""An image: path of a file, bytes of an encoded image, or a PIL image."""
_BATCH = 32
"""Images that `Classifier.predict` computes at once."""


class Classifier(nn.Module):
    """A frozen backbone and any number of side networks: one forward pass, the class scores of all of them.

    Attributes:
        networks: the side networks, with their names and label columns.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        networks: StackedSideNetworks,
        *,
        dtype: ComputeDtype = "float32",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Join the two.

        Args:
            backbone: the backbone that the side networks were trained on.
            networks: the side networks.
            dtype: dtype of the backbone's computations: float32, tf32 (GPUs), or bfloat16 or float16 by
                autocast.
            max_pixels: images with more pixels are invalid.

        Raises:
            LosaError: the side networks were trained on videos.
        """
        super().__init__()
        refuse_videos(networks)
        self.backbone = backbone.model
        self.networks = networks
        self._frozen_backbone = backbone
        self._dtype: ComputeDtype = dtype
        self._max_pixels = max_pixels
        self._transform = make_transform(networks.preprocessing, max_pixels)
        self.eval().requires_grad_(False)

    def forward(
        self, images: Float[Tensor, "images channels height columns"]
    ) -> dict[str, dict[str, Tensor]]:
        """Class scores in float32 of each side network, by its name and the name of the label column.

        Args:
            images: inputs that `preprocess` made, stacked, on the device of the module.

        Returns:
            Side network -> label column -> class scores ``(images, classes)``.
        """
        return {
            name: {
                column.name: part for column, part in zip(columns, split_columns(found, columns), strict=True)
            }
            for name, columns, found in zip(
                self.networks.names, self.networks.columns, self._scores(images), strict=True
            )
        }

    def preprocess(self, image: ImageInput) -> Float[Tensor, "channels height columns"]:
        """The input of the backbone for an image, exactly as the images for the side networks were prepared.

        Args:
            image: path of a file, bytes of an encoded image, or a PIL image.

        Returns:
            float32, on the CPU, normalised as the backbone expects.

        Raises:
            InvalidImage: the image is damaged, too large or in an unsupported format.
            LosaError: the file cannot be read at the moment.
        """
        stored = image if isinstance(image, bytes | Image.Image) else read_file(local_path(os.fspath(image)))
        try:
            decoded = decode_image(stored, self.networks.preprocessing.decoding, self._max_pixels)
        except (MemoryError, OSError) as error:
            raise not_now(_name(image, 0), str(error) or "not enough memory") from None
        return self._transform(decoded.image)

    def predict(self, images: Iterable[ImageInput], top: int = 5) -> list[Prediction]:
        """The likely classes of images: image by image, for each side network and label column.

        Args:
            images: paths of files, bytes of encoded images, or PIL images; any number of them.
            top: most classes of a prediction, at least 1.

        Returns:
            One prediction for each image, side network and label column, in this order, with the most likely
            classes first.

        Raises:
            InvalidImage: an image is damaged, too large or in an unsupported format; the message names it.
            LosaError: a file cannot be read at the moment, ``images`` is a single image, or ``top`` is less
                than 1.
        """
        if isinstance(images, str | os.PathLike | bytes | Image.Image):
            raise LosaError("predict expects several images, and found one: predict([image])")
        if top < 1:
            raise LosaError(f"top={top}: expected the number of classes to tell, at least 1")
        return list(self._predict(images, top))

    def _predict(self, images: Iterable[ImageInput], top: int) -> Iterator[Prediction]:
        device = next(self.parameters()).device
        given = ((_name(image, number), image) for number, image in enumerate(images))
        while batch := list(islice(given, _BATCH)):
            inputs = torch.stack([self._named_input(name, image) for name, image in batch]).to(device)
            yield from predictions(self.networks, [name for name, _ in batch], self._scores(inputs), top)

    def _named_input(self, name: str, image: ImageInput) -> Tensor:
        try:
            return self.preprocess(image)
        except InvalidImage as error:
            raise InvalidImage(f"{name}: {error}") from None

    def _scores(self, images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            with precision(images.device.type, self._dtype):
                activations = self._frozen_backbone.activations(images, self.networks.sites)
            scores: tuple[Tensor, ...] = self.networks(activations.float())
            return scores


def load(
    places: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    ensemble: bool = False,
    backbone: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    pretrained: bool | None = None,
    seed: int | None = None,
    device: str = "auto",
    dtype: ComputeDtype = "float32",
    max_pixels: int = MAX_PIXELS,
) -> Classifier:
    """A classifier of trained side networks, with the backbone that they were trained on.

    >>> classifier = load("runs/sweep")  # doctest: +SKIP
    >>> classifier.predict(["photo.jpg"])  # doctest: +SKIP

    Args:
        places: folder of a side network, of a sweep, or a pattern; or several of them.
        ensemble: whether the classifier gives one answer, the mean of the class probabilities of all side
            networks, which need the same label columns and classes.
        backbone: name of the backbone, where the recorded one does not lead to it, as for a local folder.
        checkpoint: file of the backbone's weights, if they are not the pretrained ones that timm has.
        pretrained: False: random weights; None: as recorded.
        seed: seed of random weights; None: as recorded.
        device: auto (a GPU if there is one), cpu, cuda or cuda:<number>.
        dtype: dtype of the backbone's computations: float32, tf32 (GPUs), or bfloat16 or float16 by autocast.
        max_pixels: images with more pixels are invalid.

    Returns:
        The classifier, on the device, in eval mode.

    Raises:
        LosaError: there is no side network, they need different backbones, were trained on videos or, as an
            ensemble, have other classes; the backbone cannot be loaded or is another one; or there is no such
            device, or it does not have the dtype.
    """
    device = resolve_device(device)
    check_precision(device, dtype)
    several = [places] if isinstance(places, str | os.PathLike) else list(places)
    trained = load_side_networks(several)
    networks = stack_side_networks(trained, ensemble=ensemble)
    source = BackboneSource(
        name=backbone,
        checkpoint=None if checkpoint is None else os.fspath(checkpoint),
        pretrained=pretrained,
        seed=seed,
    )
    classifier = Classifier(matching_backbone(networks, source), networks, dtype=dtype, max_pixels=max_pixels)
    return classifier.to(device)


def _name(image: ImageInput, number: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {number}"
