"""The methods of `losa-bench extract` that are losa's: an extraction, with decoding and without."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES
from losa.extract import DatasetConfig, ExtractConfig
from losa.extract.decode_workers import DecodedBatch, DecodedBatches
from losa.extract.extraction import Extractor
from losa.pipelines.bench.extraction.photographs import RepeatedFiles
from losa.pipelines.bench.extraction.setting import Setting, StartPass
from losa.pipelines.bench.extraction.timm_methods import Timm

CALIBRATION, SPLIT = "calibration", "images"
"""The split of the images that calibrate the codec, before any pass, and that of a pass."""
CALIBRATION_IMAGES = 8
ROWS_PER_SHARD = 64
"""The default of losa-extract, rounded up to whole batches: a batch never crosses a shard."""


def losa_and_decoding(setting: Setting) -> StartPass:
    """Everything that losa-extract does once the backbone is loaded."""
    return _passes(setting)


def losa(setting: Setting) -> StartPass:
    """The same with one batch that is decoded already, over and over."""
    inputs = Timm(setting).batch()
    if setting.device != "cpu":
        inputs = inputs.pin_memory()
    hashes: list[bytes | str] = [bytes(SOURCE_HASH_BYTES)] * setting.batch

    def decode(batches: Sequence[Sequence[str]]) -> DecodedBatches:
        return DecodedBatches(DecodedBatch(inputs[: len(keys)], hashes[: len(keys)]) for keys in batches)

    return _passes(setting, decode)


def _passes(
    setting: Setting, decode: Callable[[Sequence[Sequence[str]]], DecodedBatches] | None = None
) -> StartPass:
    """Passes that add a split to a small cache, so that none includes the calibration of the codec.

    Args:
        setting: what to extract.
        decode: what takes the place of decoding, if anything does.
    """

    def extractor(split: str, images: int, cache: Path) -> Extractor:
        made = Extractor(
            ExtractConfig(
                dataset=DatasetConfig(kind="python", name="photographs"),
                backbone=setting.backbone_config,
                cache=str(cache),
                splits=[split],
                sites=setting.sites,
                codec=setting.codec,
                rows_per_shard=-(-ROWS_PER_SHARD // setting.batch) * setting.batch,
                device=setting.device,
                dtype=setting.dtype,
                batch_size=setting.batch,
                workers=setting.workers,
            ),
            RepeatedFiles(setting.files, {split: images}),
        )
        if decode is not None:
            made.forward.decode = decode  # type: ignore[method-assign,assignment]
        return made

    small = Path(setting.folder) / "small"
    extractor(CALIBRATION, CALIBRATION_IMAGES, small).run()

    def start(images: int, folder: Path) -> Callable[[], object]:
        shutil.copytree(small, folder, dirs_exist_ok=True)
        return extractor(SPLIT, images, folder).run

    return start
