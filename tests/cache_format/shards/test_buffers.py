"""Reading and writing hold one batch in memory, however large the cache is."""

import json
from collections.abc import Callable

import pytest

IMAGES, IMAGE_BYTES, BATCH = 80, 1_000_000, 8

WRITE = f"""
import sys
from pathlib import Path
import numpy as np
import tiny_cache
from losa.cache_format import Codes, SiteStatistics

keys = tuple(str(number) for number in range({IMAGES}))
recipe = tiny_cache.Recipe(
    codec="float16", store=sys.argv[2], compressor=sys.argv[3] or None, sites=("block.05",),
    width={IMAGE_BYTES} // 8, splits=(("train", keys),), rows_per_shard=20,
)
image = Codes(np.random.default_rng(0).standard_normal((1, 1, 4, {IMAGE_BYTES} // 8)).astype(np.float16))
nothing = SiteStatistics(count=0, minimum=0.0, maximum=0.0, sum_squares=0.0, error_sum_squares=0.0)
with recipe.open(Path(sys.argv[1])) as writer:
    for segment, shard in writer.missing():
        with writer.shard(segment, shard) as out:
            for _ in segment.rows(shard):
                out.append(image, [bytes(16)], [nothing])
"""

READ = f"""
import json, resource, sys
import numpy as np
from losa.cache_format import Cache

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

split = Cache(sys.argv[1]).split("train")
order = np.random.default_rng(0).permutation({IMAGES})
peaks = []
for _ in range(2):
    for start in range(0, {IMAGES}, {BATCH}):
        split.read(order[start : start + {BATCH}])
        peaks.append(peak())
print(json.dumps(peaks))
"""


@pytest.mark.parametrize(("store", "compressor"), [("zarr", ""), ("hdf5", ""), ("zarr", "zstd")])
def test_reading_ten_buffers_takes_the_memory_of_one(
    run_python: Callable[..., str], tmp_path, store: str, compressor: str
) -> None:
    run_python(WRITE, tmp_path / "cache", store, compressor)
    peaks = json.loads(run_python(READ, tmp_path / "cache"))
    assert len(peaks) == 2 * IMAGES // BATCH
    # Two batches exist while one replaces the other; the rest belongs to the allocator and the threads.
    assert peaks[-1] - peaks[0] < 2 * BATCH * IMAGE_BYTES, peaks
