"""Loads clips of videos as frames in RGB, augmented views among them."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from losa.cache_format.clips import Clip, parse_clip
from losa.cache_format.identity import Preprocessing
from losa.cache_format.views import parse_key
from losa.extract.config import MAX_PIXELS
from losa.extract.crops import crop_of
from losa.extract.frame_sampling import sampled_frames
from losa.extract.pixels import decode_image
from losa.extract.preprocessing import Transform
from losa.extract.sources.base import (
    InvalidImage,
    Stored,
    StoredFrames,
    StoredImages,
    failing_not_now,
    hash_source,
)
from losa.extract.video_decoding import decode_video
from losa.extract.views import make_view


class LoadedClip(NamedTuple):
    """The frames of a clip in RGB, all of one size, and what a user should hear of their video."""

    frames: tuple[Image.Image, ...]
    source_hash: bytes
    """Hash of what the source holds; see `losa.extract.sources.base.hash_source`."""
    turned: bool = False
    """Whether a display matrix, or EXIF data of a frame, turn it, applied or not."""
    warnings: tuple[str, ...] = ()

    def prepared(self, transform: Transform) -> Shaped[Tensor, "frames channels height columns"]:
        """The network input, frame by frame."""
        return torch.stack([transform(frame) for frame in self.frames])


@dataclass(frozen=True, slots=True)
class ClipLoader:
    """Loads clips by their keys. It can be pickled, because each decoding process has its own copy."""

    source: StoredImages
    preprocessing: Preprocessing
    """Says which frames are taken."""
    max_pixels: int = MAX_PIXELS
    views: bool = True
    """Whether keys in the form of `losa.cache_format.views` are those of views; paths of files never are."""
    clips: bool = True
    """Whether keys in the form of `losa.cache_format.clips` are those of clips; paths of files never are."""

    def load(self, key: str) -> LoadedClip:
        """Load a clip, or make a view of it: one crop for all frames. It has the hash of its video.

        Raises:
            InvalidImage: the clip cannot be decoded, for a reason that is a property of the video.
            LosaError: the video cannot be read or decoded at the moment, for a reason that may pass.
        """
        clip_key, view = parse_key(key) if self.views else (key, None)
        video, clip = parse_clip(clip_key) if self.clips else (clip_key, Clip())
        stored = self.source.read(video)
        with failing_not_now(video):
            frames, turned, warnings = self._decode(stored, clip)
        if len({frame.size for frame in frames}) > 1:
            raise InvalidImage("its frames have different sizes")
        frames = tuple(crop_of(frame, clip, self.preprocessing.input_size) for frame in frames)
        if view is not None:
            frames = tuple(make_view(frame, view, key) for frame in frames)
        return LoadedClip(frames, hash_source(stored), turned, warnings)

    def _decode(self, stored: Stored, clip: Clip) -> tuple[tuple[Image.Image, ...], bool, tuple[str, ...]]:
        sampling, decoding = self.preprocessing.sampling, self.preprocessing.decoding
        assert sampling is not None, "images are loaded by ImageLoader"
        if isinstance(stored, StoredFrames):
            times = range(len(stored.frames))
            decoded = [
                decode_image(stored.frames[position], decoding, self.max_pixels)
                for position in sampled_frames(times, sampling, clip)
            ]
            warnings = dict.fromkeys(warning for frame in decoded for warning in frame.warnings)
            turned = any(frame.turned for frame in decoded)
            return tuple(frame.image for frame in decoded), turned, tuple(warnings)
        if isinstance(stored, Image.Image):
            raise InvalidImage("expected an encoded video or frames, found a single image")
        frames, turned = decode_video(stored, sampling, clip, decoding, self.max_pixels)
        return frames, turned, ()
