"""What ``to=...`` means: a file of a model, a folder of side networks, or a repository on the hub."""

from pathlib import Path
from typing import NamedTuple

from losa.cache_format import LosaError
from losa.cache_format.storage.paths import local_path
from losa.pipelines.classifier.hub import HubPlace, hub_place, is_on_hub
from losa.pipelines.export.description import EXPORT_FORMAT
from losa.pipelines.export.model_file import MODEL_FORMATS, description_path
from losa.pipelines.replaced_file import refuse_missing_folder, refuse_other_file


class ModelPath(NamedTuple):
    """A file of a model, with a suffix of `MODEL_FORMATS`."""

    path: Path


class FolderPath(NamedTuple):
    """A folder of side networks."""

    path: Path


def destination(to: str) -> ModelPath | FolderPath | HubPlace:
    """Read ``to=...``, before anything is computed.

    Raises:
        LosaError: it is none of these, a file whose folder does not exist, or one that no export wrote.
    """
    if is_on_hub(to):
        place = hub_place(to)
        if place.revision is not None:
            raise LosaError(
                f"to={to}: side networks are published on the main branch; leave out @{place.revision}"
            )
        return place
    path = local_path(to)
    if path.suffix in MODEL_FORMATS and not to.endswith("/"):
        refuse_missing_folder("to=", path)
        _refuse_other_model(path)
        return ModelPath(path)
    if to.endswith("/") or path.is_dir():
        if path.exists() and not path.is_dir():
            raise LosaError(f"to={to}: expected a folder, found a file")
        return FolderPath(path)
    raise LosaError(
        f"to={to}: expected <file>{' or <file>'.join(MODEL_FORMATS)} for a model, <folder>/ (with a slash at "
        "the end) or hf-hub:<owner>/<name> for the side networks alone"
    )


def _refuse_other_model(path: Path) -> None:
    """Refuse to replace a file, or the description beside it, unless an export wrote both."""
    beside = description_path(path)
    written = b'"format": "' + EXPORT_FORMAT.encode() + b'"'
    refuse_other_file("to=", path, lambda _: beside.is_file(), f"a model with its description, {beside.name}")
    refuse_other_file("to=", beside, lambda head: written in head, "the description of an exported model")
