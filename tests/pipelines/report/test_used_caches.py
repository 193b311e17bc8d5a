import json
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import Cache
from losa.pipelines.report.charts.noise import noise_chart
from losa.pipelines.report.inputs import read_members
from losa.pipelines.report.used_caches import used_caches


@pytest.fixture
def members(tmp_path: Path, make_sweep: Any) -> Any:
    """``members(place, identity)``: two members of a cache whose path and identity are these."""

    def make(place: str, identity: str) -> list[Any]:
        configs = [AdaptConfig(cache=place, seed=seed) for seed in (0, 1)]
        folder = make_sweep(tmp_path / "runs", configs, [0.5, 0.5])
        for path in folder.glob("*/summary.json"):
            summary = json.loads(path.read_text())
            summary["cache"]["features_sha256"] = identity
            path.write_text(json.dumps(summary))
        return read_members([str(folder)])

    return make


def test_a_cache_that_is_there(members: Any, extracted: Path) -> None:
    cache = Cache(extracted / "cache")
    identity = cache.manifest.features.sha256
    (used,) = used_caches(members(str(extracted / "cache"), identity))
    assert (used.name, used.facts["identity"]) == ("cache", identity)
    assert "train800 (40 images)" in used.facts["splits"]
    assert list(used.noise) == list(cache.sites)
    spec = noise_chart([used])
    assert spec is not None
    assert all(row["snr"] > 20 for row in spec["datasets"]["data"])


def test_a_cache_with_other_features_now(members: Any, extracted: Path) -> None:
    (used,) = used_caches(members(str(extracted / "cache"), "0" * 64))
    assert used.facts["now"].endswith("holds other features now")
    assert noise_chart([used]) is None
