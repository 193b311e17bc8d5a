"""Crops at test time: windows of a frame, evenly spaced along its longer side."""

from PIL import Image

from losa.cache_format.clips import Clip


def crop_of(image: Image.Image, clip: Clip, input_size: tuple[int, int, int]) -> Image.Image:
    """The crop of a frame that a clip asks for; the whole frame if its clip is not cropped.

    A crop has the aspect ratio of the network's input and is as large as fits. The first touches one end of
    the frame, the last the other end; the evaluation transform follows.

    Args:
        image: the frame.
        clip: which of how many crops.
        input_size: channels, height and width of the network input.
    """
    if clip.crops == 1:
        return image
    _, height, width = input_size
    scale = min(image.width / width, image.height / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (
        round(free * (clip.crop - 1) / (clip.crops - 1)) for free in (image.width - wide, image.height - high)
    )
    return image.crop((left, top, left + wide, top + high))
