"""The folder of a member among those of other members."""

from pathlib import Path

from losa.adapt.config import AdaptConfig


def member_folder(parent: Path, config: AdaptConfig) -> Path:
    """The folder of a member in a folder of members.

    It has the member's name, unless there is one with a name that earlier versions gave it, so that what they
    trained is found.
    """
    earlier = (parent / name for name in config.earlier_names)
    return next((folder for folder in earlier if folder.is_dir()), parent / config.member_name)
