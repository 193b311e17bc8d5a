"""Images of a source through the frozen backbone, batch by batch."""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float

from losa.cache_format.common.cores import usable_cores
from losa.cache_format.identity import ComputeDtype, Preprocessing
from losa.extract.backbone import FrozenBackbone
from losa.extract.clip_loader import ClipLoader
from losa.extract.decode_workers import DecodedBatch, DecodedBatches
from losa.extract.decoding import decode
from losa.extract.loader import ImageLoader
from losa.extract.precision import check_precision, precision
from losa.extract.preprocessing import make_transform
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import StoredImages
from losa.extract.video_decoding import refuse_without_pyav

_log = logging.getLogger(__name__)

MOST_WORKERS = 8
"""Decoding processes, if the option ``workers`` does not say how many."""
_MOST_WARNINGS = 10


class ForwardOptions(Protocol):
    """The options of a forward pass, which are those of an extraction and of whatever else needs one."""

    @property
    def dtype(self) -> ComputeDtype:
        """Dtype of the backbone's computations."""

    @property
    def workers(self) -> int | None:
        """Number of decoding processes; None: one for each core, at most eight; 0: decode in this process."""

    @property
    def max_pixels(self) -> int:
        """Images with more pixels are invalid."""

    @property
    def on_error(self) -> Literal["fail", "skip"]:
        """What to do on an invalid image."""


class ForwardPass:
    """Decodes images in worker processes and runs the backbone on the compute device."""

    def __init__(
        self,
        options: ForwardOptions,
        source: StoredImages,
        backbone: FrozenBackbone,
        preprocessing: Preprocessing,
        sites: Sequence[str],
        device: str,
        *,
        views: bool = True,
        clips: bool = True,
        elsewhere: bool = False,
    ) -> None:
        """Move the backbone to the device.

        Args:
            options: dtype, number of workers, most pixels, and whether invalid images are refused.
            source: where images are loaded from.
            backbone: the network that computes the activations.
            preprocessing: how an image becomes the network's input.
            sites: names of the sites whose activations are returned.
            device: the compute device, as torch names it.
            views: whether keys may be those of augmented views.
            clips: whether keys may be those of one of several clips of a video.
            elsewhere: whether it is only pickled here. The machine where it arrives has the device.

        Raises:
            LosaError: the device does not have the dtype.
        """
        self._made_from = (options, source, backbone, preprocessing, tuple(sites), device, views, clips)
        self.device = device
        self.sites = tuple(sites)
        cores = min(usable_cores(), MOST_WORKERS)
        self.workers = cores if options.workers is None else options.workers
        self._options = options
        self._loader: ImageLoader | ClipLoader
        if preprocessing.sampling is None:
            self._loader = ImageLoader(source, preprocessing.decoding, options.max_pixels, views)
        else:
            refuse_without_pyav()
            self._loader = ClipLoader(source, preprocessing, options.max_pixels, views, clips)
        self._backbone = backbone
        self._warnings = 0
        self._input_size = preprocessing.input_shape
        self._transform = make_transform(preprocessing, options.max_pixels)
        self._uploads: torch.cuda.Stream | None = None
        if not elsewhere:
            check_precision(device, options.dtype)
            self._uploads = torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None
            backbone.model.to(device)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is made from; where it arrives, the backbone moves to the device."""
        return _make, self._made_from

    @property
    def video_versions(self) -> dict[str, str]:
        """Version of PyAV, on which the frames of videos depend; empty for images."""
        return {} if isinstance(self._loader, ImageLoader) else {"av": version("av")}

    def decode(self, batches: Sequence[Sequence[str]]) -> DecodedBatches:
        """Decode batches of keys, in order; see `losa.extract.decoding.decode`."""
        return decode(
            self._loader,
            self._transform,
            batches,
            input_size=self._input_size,
            workers=self.workers,
            pin_memory=self.device != "cpu",
        )

    def activations(self, decoded: DecodedBatch) -> Float[torch.Tensor, "images sites tokens width"]:
        """Activations of the valid images of a batch, on the compute device."""
        with precision(self.device, self._options.dtype):
            return self._backbone.activations(self._uploaded(decoded.images), self.sites)

    def _uploaded(
        self, images: Float[torch.Tensor, "images *frames channels height columns"]
    ) -> Float[torch.Tensor, "images *frames channels height columns"]:
        """Network inputs on the compute device. Copies overlap with the batches that a GPU still works on."""
        if self._uploads is None:
            return images.to(self.device)
        with torch.cuda.stream(self._uploads):
            uploaded = images.to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self._uploads.device)
        computing.wait_stream(self._uploads)
        uploaded.record_stream(computing)
        return uploaded

    def count_invalid(self, outcomes: Sequence[bytes | str]) -> int:
        """Number of invalid images among the outcomes of a batch; each one is logged, in a line of its own.

        Raises:
            InvalidImage: there is one, and on_error=fail.
        """
        reasons = [_in_one_line(outcome) for outcome in outcomes if isinstance(outcome, str)]
        for reason in reasons:
            if self._options.on_error == "fail":
                raise InvalidImage(
                    f"cannot read an image: {reason}\n"
                    "Correct the file, or take it out of the data set, and run the same command again: what "
                    "is finished is kept. on_error=skip records invalid images and continues"
                )
            _log.warning("skipped: %s", reason)
        return len(reasons)

    def report_warnings(self, warnings: Sequence[str]) -> None:
        """Log the warnings of the decoders, up to a number; on some data sets every image has one."""
        for warning in warnings:
            self._warnings += 1
            if self._warnings <= _MOST_WARNINGS:
                _log.warning("%s", _in_one_line(warning))
            if self._warnings == _MOST_WARNINGS:
                _log.warning("further warnings of this kind are not shown")


def _make(*made_from: Any) -> ForwardPass:
    *arguments, views, clips = made_from
    return ForwardPass(*arguments, views=views, clips=clips)


def _in_one_line(message: str) -> str:
    """A message of an image, whose name may have line ends in it."""
    return message.replace("\n", "\\n")


def in_batches(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """Keys in batches of ``size``; the last one may be smaller.

    >>> in_batches(["a", "b", "c"], 2)
    [['a', 'b'], ['c']]
    """
    return [keys[start : start + size] for start in range(0, len(keys), size)]
