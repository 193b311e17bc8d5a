"""Activations of images that no cache holds, computed while they are asked for."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from losa.cache_format.clips import all_clips, parse_clip
from losa.cache_format.identity import Preprocessing
from losa.extract.backbone import FrozenBackbone
from losa.extract.config import images_per_batch
from losa.extract.forward_pass import ForwardOptions, ForwardPass, in_batches
from losa.extract.sources.base import StoredImages


class LiveBatch(NamedTuple):
    """Activations of the valid images of a batch."""

    keys: Sequence[str]
    activations: Float[Tensor, "images sites tokens width"]


class LiveActivations:
    """Images through the frozen backbone, batch by batch. Nothing is kept.

    Attributes:
        sites: names along the sites axis of the activations.
        invalid: for each invalid image or video so far its key and the reason; none with on_error=fail.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        images: StoredImages,
        keys: Sequence[str],
        *,
        sites: Sequence[str],
        preprocessing: Preprocessing,
        options: ForwardOptions,
        device: str,
        batch_size: int,
        clips: int = 1,
        crops: int = 1,
    ) -> None:
        """Move the backbone to the device; nothing is decoded yet.

        Args:
            backbone: the network.
            images: where images are read from.
            keys: keys of the images or videos; none of them is taken for that of a view or a clip.
            sites: names of the sites whose activations are wanted.
            preprocessing: how an image becomes the network's input.
            options: dtype, number of workers, most pixels, and whether invalid images are refused.
            device: the compute device, as torch names it.
            batch_size: images, or frames of clips, per forward pass.
            clips: number of clips of each video.
            crops: number of crops of each clip.
        """
        self.sites = tuple(sites)
        self.invalid: list[str] = []
        self._images = len(keys)
        places = all_clips(clips, crops)
        self._keys = [place.key(key) for key in keys for place in places]
        self._batch_size = images_per_batch(batch_size, preprocessing.sampling)
        self._forward = ForwardPass(
            options, images, backbone, preprocessing, sites, device, views=False, clips=len(places) > 1
        )

    def __len__(self) -> int:
        """Number of images or videos, invalid ones included."""
        return self._images

    def __iter__(self) -> Iterator[LiveBatch]:
        """The batches, in order, without empty ones. Closing the iterator ends the decoding processes.

        Raises:
            InvalidImage: an image is invalid, and on_error=fail.
            LosaError: the machine cannot read an image at the moment.
        """
        batches = in_batches(self._keys, self._batch_size)
        with self._forward.decode(batches) as decoded:
            for keys, batch in zip(batches, decoded, strict=True):
                outcomes = list(zip(keys, batch.outcomes, strict=True))
                reasons = [self._of_source(key, each) for key, each in outcomes if isinstance(each, str)]
                new = [reason for reason in dict.fromkeys(reasons) if reason not in self.invalid[-1:]]
                self._forward.count_invalid(new)
                self._forward.report_warnings(batch.warnings)
                self.invalid += new
                valid = [key for key, each in outcomes if isinstance(each, bytes)]
                if valid:
                    yield LiveBatch(valid, self._forward.activations(batch))

    def _of_source(self, key: str, outcome: str) -> str:
        """What became of an invalid clip, told of its video: all clips of a video fail alike."""
        return parse_clip(key)[0] + outcome.removeprefix(key) if len(self._keys) > self._images else outcome
