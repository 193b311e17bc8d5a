"""Sources of images, one per file. `open_source` maps their names to code."""

from typing import TypeVar

from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import cache_folder, local_path
from losa.extract.config import DatasetConfig
from losa.extract.sources.arrays import ArraySource
from losa.extract.sources.base import ImageSource, InvalidImage, Stored, StoredFrames, StoredImage
from losa.extract.sources.digits import DigitsSource
from losa.extract.sources.fgvc import read_fgvc
from losa.extract.sources.folder import read_folder
from losa.extract.sources.huggingface import open_huggingface
from losa.extract.sources.lists import read_lists
from losa.extract.sources.table import read_tables
from losa.extract.sources.tasks import TasksSource
from losa.extract.sources.timm_datasets import open_timm
from losa.extract.sources.torch_datasets import TorchDatasetSource
from losa.extract.sources.webdataset.source import WebDatasetSource

__all__ = [
    "ArraySource",
    "ImageSource",
    "InvalidImage",
    "Stored",
    "StoredFrames",
    "StoredImage",
    "TorchDatasetSource",
    "open_source",
]

T = TypeVar("T")


def open_source(config: DatasetConfig) -> ImageSource:
    """Open the source that a configuration describes.

    Args:
        config: the data set, of any kind but ``python``.

    Raises:
        LosaError: the source cannot be opened: an option is missing or wrong, there is no such folder, its
            lists are damaged, or a library is not installed.
    """
    if config.kind == "digits":
        return DigitsSource()
    if config.kind == "python":
        raise LosaError(f"dataset={config.name} is one that a program has: extract(config, source=...)")
    place = _needed(config, "root", config.root, "<folder>")
    if config.kind == "webdataset":
        return WebDatasetSource(
            cache_folder(place, "dataset.root") / (config.subfolder or ""),
            shards=config.shards,
            image_field=config.image_field,
            label_fields=config.label_fields,
            num_classes=config.num_classes,
            index_folder=config.index_folder,
            media=config.media,
        )
    root = local_path(place) / (config.subfolder or "")
    match config.kind:
        case "folder":
            return read_folder(root, config.media)
        case "lists":
            return read_lists(
                root, num_classes=config.num_classes, encoding=config.encoding, media=config.media
            )
        case "tasks":
            tasks = _needed(config, "tasks", config.tasks, "{<label column>:{subfolder:<folder>}}")
            return TasksSource(root, tasks, config.encoding)
        case "table":
            file = _needed(config, "file", config.file, "<name of a CSV or Parquet file>")
            return read_tables(
                root,
                [file] if isinstance(file, str) else file,
                image_column=config.image_column,
                label_columns=config.label_columns,
                split_column=config.split_column,
                num_classes=config.num_classes,
                encoding=config.encoding,
            )
        case "fgvc":
            return read_fgvc(root, _needed(config, "layout", config.layout, "cub|nabirds|flowers|dogs|cars"))
        case "timm":
            return open_timm(
                config.source or "",
                str(root),
                config.splits,
                download=config.download,
                image_column=config.image_column,
                label_columns=config.label_columns,
                num_classes=config.num_classes,
            )
        case "huggingface":
            return open_huggingface(
                root,
                image_column=config.image_column,
                label_columns=config.label_columns,
                num_classes=config.num_classes,
            )


def _needed(config: DatasetConfig, option: str, value: T | None, example: str) -> T:
    if value is None:
        raise LosaError(f"dataset={config.name} needs dataset.{option}={example}")
    return value
