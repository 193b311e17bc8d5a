"""Sources of images, one per file. `open_source` maps their names to code."""

from pathlib import Path

from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import cache_folder
from losa.extract.config import DatasetConfig
from losa.extract.sources.arrays import ArraySource
from losa.extract.sources.base import ImageSource, InvalidImage, StoredImage
from losa.extract.sources.digits import DigitsSource
from losa.extract.sources.folder import read_folder
from losa.extract.sources.huggingface import open_huggingface
from losa.extract.sources.lists import read_lists
from losa.extract.sources.timm_datasets import open_timm
from losa.extract.sources.torch_datasets import TorchDatasetSource
from losa.extract.sources.webdataset.source import WebDatasetSource

__all__ = ["ArraySource", "ImageSource", "InvalidImage", "StoredImage", "TorchDatasetSource", "open_source"]


def open_source(config: DatasetConfig) -> ImageSource:
    """Open the source that a configuration describes.

    Raises:
        LosaError: the source cannot be opened.
    """
    if config.kind == "digits":
        return DigitsSource()
    if config.kind == "python":
        raise LosaError(f"dataset={config.name} is one that a program has: extract(config, source=...)")
    if config.root is None:
        raise LosaError(f"dataset={config.name} needs dataset.root=<folder>")
    if config.kind == "webdataset":
        return WebDatasetSource(
            cache_folder(config.root, "dataset.root") / (config.subfolder or ""),
            shards=config.shards,
            image_field=config.image_field,
            label_fields=config.label_fields,
            num_classes=config.num_classes,
            index_folder=config.index_folder,
        )
    root = Path(config.root).expanduser() / (config.subfolder or "")
    if config.kind == "timm":
        return open_timm(
            config.source,
            str(root),
            config.splits,
            download=config.download,
            image_column=config.image_column,
            label_columns=config.label_columns,
            num_classes=config.num_classes,
        )
    if config.kind == "huggingface":
        return open_huggingface(
            root,
            image_column=config.image_column,
            label_columns=config.label_columns,
            num_classes=config.num_classes,
        )
    if config.kind == "folder":
        return read_folder(root)
    return read_lists(root, num_classes=config.num_classes, encoding=config.encoding)
