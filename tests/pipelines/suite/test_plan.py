"""What a run will do, before it begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.found_tasks import find_tasks
from losa.pipelines.suite.opened_tasks import OpenedTask, open_task
from losa.pipelines.suite.plan import plan_suite
from losa.pipelines.suite.task_run import TaskRun
from losa.pipelines.suite.vtab1k import VTAB1K


@pytest.fixture
def tasks(tmp_path: Path, draw_task: Any) -> list[OpenedTask]:
    """Two tasks."""
    for name in ("svhn", "kitti"):
        draw_task(tmp_path / "root" / name)
    return [open_task(found, VTAB1K) for found in find_tasks(VTAB1K, str(tmp_path / "root")).tasks]


def extract(config: SuiteConfig, task: OpenedTask) -> None:
    TaskRun(config, Candidates(config), task).extractor().run()


def test_what_is_extracted_is_not_counted_again(options: Any, tasks: list[OpenedTask]) -> None:
    config = options("plan=true")
    before = plan_suite(config, Candidates(config), tasks)
    assert before.extraction is not None
    assert before.extraction.images == 12
    assert before.extraction.bytes == 12 * before.extraction.image_bytes
    assert before.extraction.speeds is not None
    assert [each.test_images for each in before.tasks] == [3, 3]
    extract(config, tasks[0])
    after = plan_suite(config, Candidates(config), tasks)
    assert after.extraction is not None
    assert after.extraction.images == 6
    table = after.table(VTAB1K, [], {}, [])
    assert [line[4] == "extracted" for line in table.lines] == [True, False]
    extract(config, tasks[1])
    finished = plan_suite(config, Candidates(config), tasks)
    assert finished.extraction is None
    assert "caches: finished" in finished.table(VTAB1K, [], {}, []).below


def test_a_run_of_seconds_tries_nothing_out(options: Any, tasks: list[OpenedTask]) -> None:
    config = options()
    plan = plan_suite(config, Candidates(config), tasks)
    assert plan.extraction is not None
    assert plan.extraction.speeds is None


def test_a_cache_that_cannot_be_completed_leaves_the_plan_to_the_others(
    options: Any, tasks: list[OpenedTask], tmp_path: Path
) -> None:
    (tmp_path / "out/caches/svhn").mkdir(parents=True)
    (tmp_path / "out/caches/svhn/foreign.txt").write_text("not of a cache")
    config = options()
    plan = plan_suite(config, Candidates(config), tasks)
    assert plan.extraction is not None
    assert plan.extraction.cache.name == "kitti"


def test_caches_that_do_not_fit_are_refused(options: Any, tasks: list[OpenedTask]) -> None:
    config = options()
    plan = plan_suite(config, Candidates(config), tasks)
    assert plan.extraction is not None
    plan.refuse_if_too_large()
    full = replace(plan, extraction=replace(plan.extraction, free_bytes=plan.extraction.bytes - 1))
    with pytest.raises(LosaError, match="the cache needs another"):
        full.refuse_if_too_large()
