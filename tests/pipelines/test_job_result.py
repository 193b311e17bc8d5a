from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.job_failure import JobFailure
from losa.pipelines.job_result import JobResult


def test_a_result_is_a_number_for_sweepers_that_optimise(make_summary: Any) -> None:
    returned = JobResult(make_summary(accuracy={"val200": 0.75, "test": 0.5}))
    assert float(returned) == 0.75


def test_without_a_score_there_is_nothing_to_optimise(make_summary: Any) -> None:
    with pytest.raises(LosaError, match=r"eval_split=\[\]: there is no score to optimise"):
        float(JobResult(make_summary(accuracy={})))


def test_a_failure_is_none() -> None:
    with pytest.raises(TypeError):
        float(JobFailure("the loss became NaN"))  # type: ignore[arg-type]
