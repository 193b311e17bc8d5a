import json
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.report.inputs import read_members
from losa.pipelines.report.inputs.suite import read_suite


@pytest.fixture
def suite(tmp_path: Path, make_sweep: Any) -> Path:
    """One final member, whose folder is below the suite's, beside a candidate."""
    configs = [AdaptConfig(cache="dtd", rank=rank) for rank in (4, 8)]
    make_sweep(tmp_path / "vtab/runs", configs, [0.5, 0.5])
    (tmp_path / "vtab/results.csv").write_text(
        "task,group,line,rank,seed,accuracy,test_images,candidates,parameters,folder\n"
        f"dtd,natural,losa,4,0,0.75,3,2,1234,vtab/runs/{configs[0].member_name}\n"
    )
    tasks = [{"task": "dtd", "failures": []}, {"task": "svhn", "failures": ["no\nlist"]}]
    (tmp_path / "vtab/results.json").write_text(json.dumps({"tasks": tasks}))
    return tmp_path / "vtab"


def test_final_members_and_errors_of_tasks(suite: Path) -> None:
    member, failed = read_suite(suite) or []
    assert (member.task, member.kind, member.accuracy, member.options) == ("dtd", "losa", {"test": 0.75}, {})
    assert (member.parameters, member.seconds, member.rank, member.sites) == (1234, 1.25, 4, 1)
    assert (failed.task, failed.status, failed.reason) == ("svhn", "failed", "no list")


def test_candidates_in_its_folder_are_no_results_of_it(suite: Path) -> None:
    assert len(read_members([str(suite)])) == 2


def test_without_the_file_of_errors(suite: Path) -> None:
    (suite / "results.json").unlink()
    assert len(read_suite(suite) or []) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"tasks": [{"task": "dtd"}]}'])
def test_a_damaged_file_of_errors_is_refused(content: str, suite: Path) -> None:
    (suite / "results.json").write_text(content)
    with pytest.raises(LosaError, match=r"results.json is damaged"):
        read_suite(suite)


def test_other_folders_are_not_a_suite(tmp_path: Path) -> None:
    assert read_suite(tmp_path) is None
