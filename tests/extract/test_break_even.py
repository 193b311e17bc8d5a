import math

import pytest

from losa.extract.break_even import BreakEven


@pytest.mark.parametrize(
    ("read", "members", "passes"),
    [
        (1e12, 1, 2),  # reading costs nothing: the second pass is won
        (2e8, 1, 2),  # half the time of the backbone
        (1.25e8, 1, 5),
        (1e8, 1, math.inf),  # as fast as the backbone: extraction is never paid back
        (9e7, 2, math.inf),
        (1e7, 10, math.inf),
    ],
)
def test_members_and_passes(read, members, passes):
    """100 kB an image at 1,000 images/s: 100 MB/s are needed."""
    pays = BreakEven(image_bytes=100_000, images_per_s=1000.0, read_bytes_per_s=read)
    assert pays.read_bytes_per_s_needed == 1e8
    assert pays.members == members
    assert pays.passes() == passes


@pytest.mark.parametrize(("read", "members"), [(1e12, 1), (1.25e8, 1), (9e7, 2), (9e7, 3), (1e7, 20)])
def test_passes_are_the_fewest_that_cost_less_than_the_backbone(read, members):
    """Against running the backbone in each pass for each member, in units of a pass through it."""
    pays = BreakEven(image_bytes=100_000, images_per_s=1000.0, read_bytes_per_s=read)
    passes = pays.passes(members)

    def cost_of_cache(count):
        return 1 + count * 1e8 / read

    assert passes * members >= cost_of_cache(passes)
    assert (passes - 1) * members < cost_of_cache(passes - 1)
