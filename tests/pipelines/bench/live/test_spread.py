"""Standard errors."""

from losa.pipelines.bench.live.spread import standard_error


def test_a_single_value_has_none():
    assert standard_error([0.5]) is None
    assert standard_error([0.5, 0.5]) == 0.0
