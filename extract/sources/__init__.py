"""Sources of images, one per file. `open_source` maps their names to code."""

from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import local_path
from losa.extract.config import DatasetConfig
from losa.extract.sources.base import ImageSource, InvalidImage, SourceImage
from losa.extract.sources.digits import DigitsSource
from losa.extract.sources.folder import FolderSource
from losa.extract.sources.lists import ListsSource

__all__ = ["ImageSource", "InvalidImage", "SourceImage", "open_source"]


def open_source(config: DatasetConfig) -> ImageSource:
    """Open the source that a configuration describes.

    Raises:
        LosaError: the source cannot be opened.
    """
    if config.kind == "digits":
        return DigitsSource()
    if config.root is None:
        raise LosaError(f"dataset={config.name} needs dataset.root=<folder>")
    root = local_path(config.root) / (config.subfolder or "")
    if config.kind == "folder":
        return FolderSource(root)
    return ListsSource(root, config.num_classes)
