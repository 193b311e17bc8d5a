"""Decodes the frames of a clip from an encoded video, with PyAV. The rules are on docs/video.md."""

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from PIL import Image

from losa.cache_format.clips import Clip
from losa.cache_format.errors import LosaError
from losa.cache_format.identity import FrameSampling, ImageDecoding
from losa.extract.frame_sampling import sampled_frames
from losa.extract.sources.base import InvalidImage
from losa.extract.video_formats import VIDEO_CONTAINERS

if TYPE_CHECKING:  # PyAV is an extra
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_STRICT = {"err_detect": "explode"}
"""Damaged data are errors; by default FFmpeg conceals them by what it guesses."""
_TELL_THEIR_DURATION = ("mov", "matroska", "avi")
"""Containers whose header says how long the video is, so that a truncated one is known."""
_MISSING = 0.01
"""The data may end such a part of the duration before the end that the header tells, which may be rounded."""
_TURNS: dict[tuple[int, int, int, int], Image.Transpose | None] = {
    (1, 0, 0, 1): None,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""Signs of the display matrix, in which x' = a x + c y and y' = b x + d y, as (a, b, c, d)."""


class DecodedVideo(NamedTuple):
    """The frames of a clip in RGB, and what a user should hear of their video."""

    frames: tuple[Image.Image, ...]
    turned: bool
    """Whether a display matrix turns or mirrors the video, applied or not."""


def refuse_without_pyav() -> None:
    """Raise a LosaError if PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise LosaError(
            "videos are decoded with PyAV, which is not installed: pip install 'losa[video]'"
        ) from None


def decode_video(
    data: bytes, sampling: FrameSampling, clip: Clip, decoding: ImageDecoding | None, max_pixels: int
) -> DecodedVideo:
    """Decode the frames of a clip.

    Args:
        data: the bytes of the file.
        sampling: number of frames and stride.
        clip: which clip of the video.
        decoding: whether a display matrix is applied, as EXIF data of images are; None: it is not.
        max_pixels: most pixels of a frame.

    Raises:
        InvalidImage: it is no video, or one that is damaged, truncated, too short or too large. Another
            attempt would fail, too.
        MemoryError: the machine could not decode it at the moment.
    """
    import av

    try:
        with _opened(data) as container:
            times = _times(container, _stream(container, max_pixels))
        wanted = [times[position] for position in sampled_frames(times, sampling, clip)]
        with _opened(data) as container:  # again: not every container can be rewound
            frames = container.decode(_stream(container, max_pixels))
            shown = [_upright(frame, decoding) for frame in _shown_at(wanted, frames)]
    except av.error.MemoryError:
        raise MemoryError from None
    except av.error.FFmpegError as error:
        raise InvalidImage(
            f"no video that FFmpeg decodes, or one that is damaged or truncated: {error.strerror}"
        ) from None
    return DecodedVideo(tuple(image for image, _ in shown), any(turned for _, turned in shown))


def _opened(data: bytes) -> "InputContainer":
    import av

    return av.open(io.BytesIO(data), "r", options={"format_whitelist": VIDEO_CONTAINERS})


def _stream(container: "InputContainer", max_pixels: int) -> "VideoStream":
    """The video stream, of several the one that FFmpeg thinks best."""
    stream = container.streams.best("video")
    if stream is None:
        raise InvalidImage("it has no video stream")
    video = cast("VideoStream", stream)
    if video.codec_context is None:
        raise InvalidImage("FFmpeg has no decoder for its video stream, or the stream is damaged")
    if video.width * video.height > max_pixels:
        raise InvalidImage(f"{video.width:,} x {video.height:,} pixels are more than max_pixels={max_pixels}")
    video.codec_context.options = _STRICT
    video.codec_context.thread_count = 1  # there is a process for each core
    return video


def _times(container: "InputContainer", stream: "VideoStream") -> list[int]:
    """When each frame is shown, in ascending order, in units of the stream's time base.

    All packets are read for it, but none is decoded.
    """
    times: list[int] = []
    end, lasts = 0.0, True
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            lasts = bool(packet.duration)
        if packet.stream != stream or not packet.size or packet.is_discard:
            continue
        if packet.is_corrupt:
            raise InvalidImage(f"it is truncated or damaged at its packet {len(times) + 1}")
        if packet.pts is None:
            raise InvalidImage("its frames have no times: write it again, as an .mp4 or an .mkv")
        times.append(packet.pts)
    if not times:
        raise InvalidImage("it has no frames: it is truncated or damaged")
    if container.duration is not None and container.format.name.startswith(_TELL_THEIR_DURATION):
        seconds = container.duration / 1_000_000
        missing = seconds + (container.start_time or 0) / 1_000_000 - end
        frame = seconds / len(times)
        # A frame is missing if the data end a frame early; but not every last packet tells how long it lasts.
        if missing > max(_MISSING * seconds, (0.75 if lasts else 1.75) * frame):
            raise InvalidImage(f"it is truncated: its data end {missing:.1f} s before its {seconds:.1f} s")
    return sorted(times)


def _shown_at(times: Sequence[int], frames: "Iterable[VideoFrame]") -> "Iterator[VideoFrame]":
    """The frame that is shown at each of some ascending times: the last one that has begun."""
    waiting = iter(times)
    wanted = next(waiting, None)
    current = None
    for frame in frames:
        if frame.is_corrupt or frame.pts is None:
            raise InvalidImage(f"it is damaged at the frame of {frame.time} s")
        while wanted is not None and frame.pts > wanted:
            yield current or frame
            wanted = next(waiting, None)
        if wanted is None:
            return
        current = frame
    if current is None:
        raise InvalidImage("it has no frames: it is damaged")
    while wanted is not None:
        yield current
        wanted = next(waiting, None)


def _upright(frame: "VideoFrame", decoding: ImageDecoding | None) -> tuple[Image.Image, bool]:
    """The frame in RGB as its display matrix and ``exif`` request it, and whether it is turned."""
    from av.video.reformatter import VideoReformatter

    # One of its own: that which PyAV 19 keeps has threads, which a process that is forked waits for in vain.
    image: Image.Image = VideoReformatter().reformat(frame, format="rgb24", threads=1).to_image()
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image, False
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    signs = (_sign(a), _sign(b), _sign(c), _sign(d))
    if signs not in _TURNS:
        raise InvalidImage("its display matrix turns it by an angle that is no multiple of 90 degrees")
    turn = _TURNS[signs]
    if turn is not None and decoding is not None and decoding.exif == "apply":
        image = image.transpose(turn)
    return image, turn is not None


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
