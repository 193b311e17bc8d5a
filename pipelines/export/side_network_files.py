"""Lays side networks out in a folder, as they are published: their files and a model card."""

from collections.abc import Mapping
from pathlib import Path

from losa.adapt import load_side_network
from losa.adapt.members.member_files import SUMMARY_NAME
from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import publish_files
from losa.pipelines.export.model_card import model_card

CARD = "README.md"


def write_side_networks(folder: Path, sources: Mapping[str, Path], place: str) -> bool:
    """Write side networks to a folder: a single one into it, several each into a folder of its own.

    The files are copied as they are, so that their hashes stay the same.

    Args:
        folder: folder to write to; it is created if it does not exist. A model card in it is kept.
        sources: name -> folder of each side network.
        place: what `losa.pipelines.load` is to be given, for the model card.

    Returns:
        Whether a model card was written.

    Raises:
        LosaError: a side network is damaged, the folder holds others, or it is a member's, of losa-adapt.
            Nothing is written then.
    """
    trained = {name: load_side_network(source) for name, source in sources.items()}
    targets = {name: "" if len(sources) == 1 else f"{name}/" for name in sources}
    _refuse_others(folder, [folder / target for target in targets.values()])
    files = {
        f"{targets[name]}{file}": (source / file).read_bytes()
        for name, source in sources.items()
        for file in (TENSORS_NAME, DESCRIPTION_NAME)
    }
    _refuse_to_replace(folder, files)
    has_card = (folder / CARD).exists()
    if not has_card:
        files[CARD] = model_card(trained, sources, place).encode()
    publish_files(folder, files)
    return not has_card


def _refuse_others(folder: Path, own: list[Path]) -> None:
    """Refuse a folder with side networks that would be taken for the ones that are exported."""
    others = sorted(found.parent for found in folder.rglob(DESCRIPTION_NAME) if found.parent not in own)
    if others:
        raise LosaError(
            f"{folder} holds other side networks already, such as {others[0]}: choose another folder, or "
            "remove them"
        )


def _refuse_to_replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Refuse to replace a file by another one, and to write among the results of a training."""
    for name, content in files.items():
        path = folder / name
        if (path.parent / SUMMARY_NAME).exists():
            raise LosaError(
                f"{path.parent} is the folder of a side network that losa-adapt trained: choose another one"
            )
        if path.exists() and path.read_bytes() != content:
            raise LosaError(
                f"{path}: there is another file of this name, which would be replaced: choose another "
                f"folder, or remove it first, and {CARD} with it if that describes another side network"
            )
