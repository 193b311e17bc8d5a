"""Draws a data set that needs time: videos of photographs that move over a plain ground to the left or right.

Each photograph gives two videos with the same frames, in opposite orders. A network that averages over frames
sees no difference between them.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from losa.cache_format import LosaError
from losa.cache_format.common.progress import progress_bar
from losa.extract.pixels import DEFAULT_DECODING, decode_image
from losa.extract.sources.files import FileSource
from losa.extract.sources.lists import read_lists
from losa.extract.video_decoding import refuse_without_pyav
from losa.pipelines.bench.study.drawn_folder import refuse_used_folder, write_lists

DIRECTIONS = ("left", "right")
"""Where the picture moves. The label is the place in this list."""
PHOTOGRAPHS = {"train": 400, "val": 100, "test": 200}
"""Number of photographs to train on, to choose on, and to test; each gives two videos."""
FRAMES = 16
"""Frames of a video."""
SIDE = 96
"""Width and height of a frame in pixels."""
_RATE = 8
_PART = 0.6
"""Width and height of the photograph in a frame, as a fraction of the frame's."""
_VIDEOS = "videos"


def draw_directions(photographs: Path, folder: Path, counts: Mapping[str, int]) -> None:
    """Write videos in the layout of ``dataset=lists``: .mp4 files, and the four standard lists.

    Args:
        photographs: folder of photographs in the layout of ``dataset=lists``. Those of train800, val200 and
            test become the videos of these lists.
        folder: a new or empty folder.
        counts: number of photographs to train on (``train``), to choose on (``val``) and to test (``test``).

    Raises:
        LosaError: the folder is not empty, there are not as many photographs, or PyAV is not installed.
    """
    refuse_without_pyav()
    refuse_used_folder(folder)
    source = read_lists(photographs)
    chosen = {
        part: _spread(source, split, count)
        for (part, count), split in zip(counts.items(), ("train800", "val200", "test"), strict=True)
    }
    (folder / _VIDEOS).mkdir(parents=True)
    lines: dict[str, list[str]] = {}
    number = 0
    with progress_bar(sum(counts.values()), "drawing", "img", leave=False) as bar:
        for part, keys in chosen.items():
            lines[part] = []
            for key in keys:
                frames = list(moving(decode_image(source.read(key), DEFAULT_DECODING, 10**8).image))
                for label, direction in enumerate(DIRECTIONS):
                    name = f"{_VIDEOS}/{number:04d}-{direction}.mp4"
                    write_video(folder / name, frames if direction == "left" else frames[::-1])
                    lines[part].append(f"{name} {label}\n")
                number += 1
                bar.update()
    write_lists(folder, lines)


def moving(photograph: Image.Image) -> Iterator[Image.Image]:
    """Frames of `SIDE` x `SIDE` pixels, in which the photograph moves from the right edge to the left one.

    The ground has its mean colour, and its height in the frame follows from its pixels.
    """
    side = round(_PART * SIDE)
    square = ImageOps.fit(photograph, (side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(square)
    red, green, blue = map(int, pixels.mean(axis=(0, 1)))
    top = int(pixels.sum()) % (SIDE - side + 1)
    for frame in range(FRAMES):
        ground = Image.new("RGB", (SIDE, SIDE), (red, green, blue))
        ground.paste(square, (round((SIDE - side) * (1 - frame / (FRAMES - 1))), top))
        yield ground


def write_video(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write an .mp4 file. Each frame is coded by itself and alike: their order leaves no trace in them."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(_RATE))
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 1
        stream.codec_context.options = {"qp": "20", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _spread(source: FileSource, split: str, count: int) -> list[str]:
    """So many keys of a split, at equal distances."""
    if split not in source.splits or len(keys := source.keys(split)) < count:
        raise LosaError(f"the photographs need a list {split}.txt of {count} or more; lists: {source.splits}")
    return [keys[number * len(keys) // count] for number in range(count)]
