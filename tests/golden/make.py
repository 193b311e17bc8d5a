"""Writes the golden caches of the current format version. Run it by hand, see README.md beside this file."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import shake_256
from pathlib import Path

import numpy as np
from tiny_cache import TRAIN, VAL, Recipe

from losa.cache_format import Manifest, SiteStatistics, make_codec
from losa.cache_format.manifest import FORMAT_VERSION
from losa.cache_format.shards.statistics import total_statistics
from losa.cache_format.storage.lock import LOCK_NAME

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / f"tests/golden/version-{FORMAT_VERSION}"
PAGE = ROOT / "docs/format.md"
SPLITS = (
    ("train", TRAIN[:4]),
    ("val", VAL[:2]),
    ("trainval", (VAL[1], TRAIN[0], TRAIN[1], VAL[0], TRAIN[3])),
)


@dataclass(frozen=True)
class Golden(Recipe):
    """A recipe whose numbers are all exact, so that they are the same on every machine."""

    splits: tuple[tuple[str, tuple[str, ...]], ...] = SPLITS
    invalid: frozenset[str] = frozenset({TRAIN[1]})

    def activations(self, keys: Sequence[str]) -> np.ndarray:
        """Activations that are sixteenths, whose sums have no rounding errors in any order."""
        size = math.prod(self.image_shape)
        bytes_of_keys = b"".join(shake_256(key.encode()).digest(size) for key in keys)
        images = np.frombuffer(bytes_of_keys, np.int8).reshape(-1, *self.image_shape).astype(np.float32) / 16
        images[..., self.width // 2] *= 1000
        return images

    def statistics(self, keys: Sequence[str]) -> list[SiteStatistics]:
        """Statistics of each site, with exact sums."""
        activations = self.activations(keys).astype(np.float64)
        decoded = make_codec(self.codec, self.calibration).decode(self.encode(keys))
        return [
            SiteStatistics(
                count=activations[:, site].size,
                minimum=float(activations[:, site].min()),
                maximum=float(activations[:, site].max()),
                sum_squares=math.fsum((activations[:, site] ** 2).flat),
                error_sum_squares=math.fsum(((decoded - activations)[:, site] ** 2).flat),
            )
            for site in range(len(self.sites))
        ]

    def expected(self) -> np.ndarray:
        """Decoded values of every image, in the order of `keys`."""
        return make_codec(self.codec, self.calibration).decode(self.stored(self.keys))

    def total(self) -> list[SiteStatistics]:
        """Statistics of all valid images, added shard by shard as a reader does."""
        parts: list[list[SiteStatistics]] = []
        seen: set[str] = set()
        for _, keys in self.splits:
            new = [key for key in keys if key not in seen]
            seen.update(new)
            for start in range(0, len(new), self.rows_per_shard):
                valid = [key for key in new[start : start + self.rows_per_shard] if key not in self.invalid]
                parts.append(self.statistics(valid))
        return total_statistics(parts, len(self.sites))

    def write_shard(self, writer, segment, shard, batch=10**6) -> None:  # type: ignore[no-untyped-def]
        """Write a shard in one batch, so that its statistics are one exact sum."""
        super().write_shard(writer, segment, shard, batch)


ODD = {"sites": ("embed", "block.05"), "width": 33}
"""For int4: a last group of one channel, and an unused half of a byte."""
CACHES = {
    "zarr-int8": Golden(codec="int8"),
    "zarr-float16-lz4": Golden(codec="float16", compressor="lz4"),
    "zarr-int4-zstd": Golden(codec="int4", compressor="zstd", **ODD),
    "hdf5-int8": Golden(codec="int8", store="hdf5"),
    "hdf5-bfloat16": Golden(codec="bfloat16", store="hdf5"),
    "hdf5-int4-blosc": Golden(codec="int4", store="hdf5", compressor="blosc", **ODD),
    "hdf5-float32-zstd": Golden(codec="float32", store="hdf5", compressor="zstd"),
}


def write(name: str, folder: Path) -> Path:
    """Write one of the caches, without the lock file."""
    cache = CACHES[name].write(folder)
    (cache / LOCK_NAME).unlink()
    return cache


def main() -> None:
    """Write all caches and the values that a reader must find in them."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    expected = FOLDER / "expected"
    expected.mkdir(parents=True)
    caches = {}
    for name, recipe in CACHES.items():
        cache = write(name, FOLDER / name)
        np.save(expected / f"{name}.npy", recipe.expected())
        caches[name] = {
            "features_sha256": Manifest.read(cache).features.sha256,
            "statistics": [asdict(site) for site in recipe.total()],
        }
    recipe = CACHES["zarr-int8"]
    splits = {
        name: {
            "keys": list(keys),
            "valid": [key not in recipe.invalid for key in keys],
            "labels": {column: labels.tolist() for column, labels in recipe.labels(keys).items()},
        }
        for name, keys in recipe.splits
    }
    content = {"keys": list(recipe.keys), "splits": splits, "caches": caches}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (expected / "expected.json").write_text(text + "\n", encoding="utf-8")


def refresh_page() -> None:
    """Update the outputs of the snippets in the specification."""

    def again(found: re.Match[str]) -> str:
        program = found[1]
        printed = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        lines = [line.rstrip() for line in printed.rstrip().splitlines()]
        return "\n".join(["```python", f"{program}```", "", "```text", *lines, "```", ""])

    text = PAGE.read_text(encoding="utf-8")
    snippet = re.compile(r"^```python\n(.*?)^```\n\n```text\n.*?^```\n", re.DOTALL | re.MULTILINE)
    PAGE.write_text(snippet.sub(again, text), encoding="utf-8")


if __name__ == "__main__":
    main()
    refresh_page()
