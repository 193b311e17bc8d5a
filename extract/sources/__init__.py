"""Sources of images, one per file. `open_source` maps their names to code."""

from typing import get_args

from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import local_path
from losa.extract.config import DatasetConfig, FgvcLayout
from losa.extract.sources.base import ImageSource, InvalidImage, StoredImage
from losa.extract.sources.digits import DigitsSource
from losa.extract.sources.fgvc import read_fgvc
from losa.extract.sources.folder import read_folder
from losa.extract.sources.lists import read_lists
from losa.extract.sources.table import read_tables
from losa.extract.sources.tasks import TasksSource

__all__ = ["ImageSource", "InvalidImage", "StoredImage", "open_source"]


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
        return read_folder(root)
    if config.kind == "table":
        if config.file is None:
            raise LosaError(f"dataset={config.name} needs dataset.file=<name of a CSV or Parquet file>")
        return read_tables(
            root,
            [config.file] if isinstance(config.file, str) else config.file,
            image_column=config.image_column,
            label_columns=config.label_columns,
            split_column=config.split_column,
            num_classes=config.num_classes,
            encoding=config.encoding,
        )
    if config.kind == "tasks":
        if not config.tasks:
            raise LosaError(
                f"dataset={config.name} needs dataset.tasks={{<label column>:{{subfolder:<folder>}}}}"
            )
        return TasksSource(root, config.tasks, config.encoding)
    if config.kind == "fgvc":
        if config.layout is None:
            raise LosaError(f"dataset={config.name} needs dataset.layout={'|'.join(get_args(FgvcLayout))}")
        return read_fgvc(root, config.layout)
    return read_lists(root, num_classes=config.num_classes, encoding=config.encoding)
