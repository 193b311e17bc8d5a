"""The cost of the cache: the extraction of the training images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from losa.cache_format import Cache
from losa.cache_format.storage.removal import remove_tree
from losa.extract import DatasetConfig, ExtractConfig, Extraction, extract, load_backbone
from losa.pipelines.bench.peak_memory import PeakMemory
from losa.pipelines.report.efficiency.setting import Setting


def measure_extraction(setting: Setting) -> Iterator[dict[str, Any]]:
    """Extract the training images; what an extraction that was killed has left is kept.

    Yields:
        - ``seconds`` for all images, decoding included, without loading the backbone;
        - ``images``;
        - ``peak_bytes`` of this process, without its decoding processes;
        - ``cache_bytes`` that the images take at the sites of the cache.
    """
    _warm_up(setting)
    memory = PeakMemory(setting.device)
    found = extract_splits(setting, [setting.train_split])
    if not found.images:  # it was finished, but killed before it could tell its time
        remove_tree(Path(setting.cache))
        found = extract_splits(setting, [setting.train_split])
    peak = memory.taken()
    split = Cache(setting.cache).split(setting.train_split)
    yield {
        "seconds": found.seconds * len(split) / found.images,
        "images": len(split),
        "peak_bytes": peak,
        "cache_bytes": len(split) * split.image_bytes,
    }


def extract_splits(setting: Setting, splits: Sequence[str]) -> Extraction:
    """Extract what is missing of some splits; see `losa.extract.extract`."""
    return extract(
        ExtractConfig(
            dataset=DatasetConfig(kind="lists", name=Path(setting.data).name, root=setting.data),
            backbone=setting.backbone_config,
            cache=setting.cache,
            splits=list(splits),
            sites=setting.sites,
            codec=setting.codec,
            dtype=setting.dtype,
            device=setting.device,
            threads=setting.threads or "auto",
        )
    )


def _warm_up(setting: Setting) -> None:
    """Load modules and libraries by a forward pass of two images."""
    backbone = load_backbone(setting.backbone_config)
    backbone.model.to(setting.device)
    sites = backbone.group(setting.sites).sites
    backbone.activations(torch.zeros(2, *backbone.preprocessing.input_size, device=setting.device), sites)
