"""With real weights and photographs, from the folder named by ``LOSA_TEST_DATA``."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from losa.cache_format import Cache
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract, load_backbone
from losa.extract.config import MAX_PIXELS
from losa.extract.pixels import DEFAULT_DECODING, decode_image
from losa.extract.preprocessing import make_transform

pytestmark = pytest.mark.real_data
DATA = Path(os.environ.get("LOSA_TEST_DATA", Path(__file__).parents[2] / "../shared/data")).resolve()
CHECKPOINT = DATA / "weights/deit_tiny_patch16_224.safetensors"
PHOTOS = DATA / "imagenet100"


def _open(path):
    return decode_image(path.read_bytes(), DEFAULT_DECODING, MAX_PIXELS).image


@pytest.fixture(scope="module", autouse=True)
def _needs_data():
    for path in (CHECKPOINT, PHOTOS):
        if not path.exists():
            pytest.skip(f"there is no {path}: set LOSA_TEST_DATA to the folder of real test data")


@pytest.fixture(scope="module")
def backbone():
    return BackboneConfig(name="deit_tiny_patch16_224", checkpoint=str(CHECKPOINT))


@pytest.mark.slow
def test_with_its_own_head_the_backbone_recognises_photographs(backbone):
    frozen = load_backbone(backbone)
    transform = make_transform(frozen.preprocessing)
    with (PHOTOS / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    right = 0
    for start in range(0, 100, 20):
        batch = rows[start : start + 20]
        images = torch.stack([transform(_open(PHOTOS / row["file"])) for row in batch])
        last = frozen.activations(images, frozen.sites[-1:])[:, 0]
        with torch.inference_mode():
            classes = frozen.model.forward_head(frozen.model.norm(last)).argmax(1)
        right += sum(int(row["imagenet_class_index"]) == c for row, c in zip(batch, classes, strict=True))
    assert 75 <= right <= 90


def test_int8_keeps_forty_decibels_at_every_site(backbone, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for path in sorted(PHOTOS.glob("*.JPEG"))[::6][:16]:
        (root / path.name).symlink_to(path)
    config = ExtractConfig(
        dataset=DatasetConfig(kind="folder", name="imagenet16", root=str(root)),
        backbone=backbone,
        cache=str(tmp_path / "cache"),
        sites=["embed", "all"],
        batch_size=8,
        workers=0,
        device="cpu",
    )
    assert extract(config).images == 16
    cache = Cache(tmp_path / "cache")
    split = cache.split("all", cache.sites)
    frozen = load_backbone(backbone)
    transform = make_transform(frozen.preprocessing)
    images = torch.stack([transform(_open(root / key)) for key in split.keys])
    expected = frozen.activations(images, frozen.sites).numpy()
    found = cache.codec(cache.sites).decode(split.read(np.arange(16)))
    signal = (expected.astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    noise = ((expected - found).astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    snr = dict(zip(cache.sites, 10 * np.log10(signal / noise), strict=True))
    assert len(snr) == 13
    assert min(snr.values()) >= 40, snr
    # And that is what the cache says of itself.
    (segment,) = cache.manifest.segments
    record = SegmentFiles.of(cache.metadata, segment).commit(0)
    np.testing.assert_allclose([site.snr_db for site in record.statistics], list(snr.values()), atol=0.1)
