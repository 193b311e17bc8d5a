import pytest

from losa.cache_format.common.units import readable


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_815_552, "1.8 MB"), (3 * 10**15, "3000.0 TB")],
)
def test_bytes_for_people(count, text):
    assert readable(count) == text
