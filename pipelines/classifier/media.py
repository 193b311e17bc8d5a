"""What side networks look at: images, or clips of videos."""

from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import LosaError


def refuse_other_media(networks: StackedSideNetworks, videos: bool, clips: int = 1, crops: int = 1) -> None:
    """Refuse videos for side networks of images, images for those of videos, and clips and crops of images.

    Raises:
        LosaError: the message says what they were trained on.
    """
    trained_on = "images" if networks.preprocessing.sampling is None else "videos"
    if videos != (trained_on == "videos"):
        found = "videos" if videos else "images"
        raise LosaError(
            f"the side networks were trained on {trained_on}, found {found}: dataset.media={trained_on} says "
            f"that a data set holds {trained_on}"
        )
    several = [f"{name}={number}" for name, number in (("clips", clips), ("crops", crops)) if number > 1]
    if several and not videos:
        raise LosaError(f"{several[0]} is meant for videos; the side networks were trained on images")


def refuse_videos(networks: StackedSideNetworks) -> None:
    """Raise a LosaError if side networks were trained on videos, where only those of images can be used."""
    if networks.preprocessing.sampling is not None:
        raise LosaError(
            "losa-serve, losa-export to a model, and a Classifier take side networks of images; these were "
            f"trained on clips of {networks.tokens.frames} frames. losa-predict and losa-evaluate take them"
        )
