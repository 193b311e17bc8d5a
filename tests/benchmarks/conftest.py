"""Data of the shape that matters, made once."""

from pathlib import Path

import numpy as np
import pytest

from losa.cache_format import (
    CacheRequest,
    CacheWriter,
    LabelColumn,
    SiteStatistics,
    SplitContents,
    make_codec,
)
from losa.cache_format.identity import (
    BackboneIdentity,
    FeatureIdentity,
    Preprocessing,
    SiteGroup,
    TokenLayout,
)

IMAGES = 128


@pytest.fixture(scope="session")
def vit_b_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 images of ViT-B shape, 12 sites of 197 x 768, as float16: 465 MB."""
    path = tmp_path_factory.mktemp("vit_b") / "cache"
    sites = tuple(f"block.{index:02d}" for index in range(12))
    features = FeatureIdentity(
        backbone=BackboneIdentity(name="noise", weights_sha256="0" * 64, depth=12),
        preprocessing=Preprocessing(
            input_size=(3, 224, 224),
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            crop_pct=0.9,
            crop_mode="center",
        ),
        site_groups=(
            SiteGroup(sites=sites, tokens=TokenLayout(cls=1, registers=0, grid=(14, 14)), width=768),
        ),
        compute_dtype="float32",
        codec="float16",
        final_norm=None,
        constants={},
    )
    split = SplitContents(
        name="train",
        keys=[f"{index}" for index in range(IMAGES)],
        labels={"label": np.arange(IMAGES) % 10},
    )
    codec = make_codec("float16")
    rng = np.random.default_rng(0)
    nothing = SiteStatistics(count=0, minimum=0.0, maximum=0.0, sum_squares=0.0, error_sum_squares=0.0)
    request = CacheRequest(
        dataset="noise",
        features=features,
        labels=[LabelColumn(name="label", num_classes=10)],
        splits=[split],
        rows_per_shard=32,
        provenance={},
    )
    with CacheWriter(path, request, {}) as writer:
        for segment, shard in writer.missing():
            with writer.shard(segment, shard) as out:
                for _ in segment.rows(shard):
                    image = rng.standard_normal((1, 12, 197, 768), np.float32)
                    out.append(codec.encode(image), [bytes(16)], [nothing] * 12)
    return path
