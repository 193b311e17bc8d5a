"""The grid holds values that members can have."""

from losa.adapt import AdaptConfig
from losa.pipelines.bench.study.grid import grid_points, grid_values


def test_every_point_is_a_configuration_of_its_own() -> None:
    configs = [AdaptConfig(cache="cache", **point) for point in grid_points()]
    sizes = [len(values) for values in grid_values().values()]
    assert all(size > 1 for size in sizes)
    expected = 1
    for size in sizes:
        expected *= size
    assert len({config.member_id for config in configs}) == expected
