import math
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losa.cache_format import SiteStatistics

EMPTY = SiteStatistics(count=0, minimum=0.0, maximum=0.0, sum_squares=0.0, error_sum_squares=0.0)
NUMBERS = st.lists(st.integers(-1000, 1000).map(float), max_size=6)


def measured(values: list[float]) -> SiteStatistics:
    if not values:
        return EMPTY
    return SiteStatistics(
        count=len(values),
        minimum=min(values),
        maximum=max(values),
        sum_squares=sum((value**2 for value in values), 0.0),
        error_sum_squares=len(values) / 4,
    )


@given(st.lists(NUMBERS, min_size=1, max_size=5))
@settings(deadline=None)
def test_statistics_of_shards_add_up_to_those_of_all_values(shards):
    together = measured([value for shard in shards for value in shard])
    assert reduce(add, map(measured, shards)) == together


def test_rms_and_snr():
    statistics = SiteStatistics(count=4, minimum=-4.0, maximum=2.0, sum_squares=100.0, error_sum_squares=0.1)
    assert statistics.rms == 5.0
    assert statistics.snr_db == pytest.approx(30.0)


def test_a_lossless_codec_has_infinite_snr_and_nothing_measured_has_none():
    assert EMPTY.rms == 0.0
    assert EMPTY.snr_db == math.inf
    lossy = SiteStatistics(count=1, minimum=0.0, maximum=0.0, sum_squares=0.0, error_sum_squares=1.0)
    assert lossy.snr_db == -math.inf
