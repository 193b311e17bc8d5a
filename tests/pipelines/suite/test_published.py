"""Published results, as they are in the package."""

import pytest

from losa.pipelines.suite.fgvc import FGVC
from losa.pipelines.suite.published import PublishedResults
from losa.pipelines.suite.tasks import Suite
from losa.pipelines.suite.vtab1k import VTAB1K


@pytest.mark.parametrize("suite", [VTAB1K, FGVC], ids=lambda suite: suite.name)
def test_tasks_are_those_of_the_suite_and_means_follow_from_them(suite: Suite) -> None:
    found = PublishedResults.of(suite.name).results
    assert found
    for one in found:
        assert one.tasks.keys() <= suite.tasks.keys()
        if one.tasks:
            groups = [one.mean_of([task.name for task in tasks]) for tasks in suite.groups.values()]
            assert sum(groups) / len(groups) == pytest.approx(one.mean_of_groups, abs=0.005)
            assert one.mean_of(list(suite.tasks)) == pytest.approx(one.mean_of_tasks, abs=0.005)


def test_the_mean_over_unknown_tasks_is_unknown() -> None:
    last = next(one for one in PublishedResults.of("vtab1k").results if one.tasks)
    assert last.mean_of(["dtd", "svhn"]) == pytest.approx((76.1 + 86.1) / 2)
    assert last.mean_of(["dtd", "signs"]) is None
    assert last.mean_of([]) is None
