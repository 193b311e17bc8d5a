import shutil
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.report.inputs import read_members


@pytest.fixture
def sweeps(tmp_path: Path, make_sweep: Any) -> Path:
    for name, rank in [("one", 2), ("two", 4)]:
        make_sweep(tmp_path / name, [AdaptConfig(cache="pets", rank=rank)], [0.5])
    return tmp_path


def test_folders_and_patterns_of_them(sweeps: Path) -> None:
    assert [member.rank for member in read_members([str(sweeps / "two"), str(sweeps / "one")])] == [4, 2]
    assert [member.rank for member in read_members([str(sweeps / "*")])] == [2, 4]


def test_a_folder_without_results_is_refused(sweeps: Path) -> None:
    (sweeps / "empty").mkdir()
    with pytest.raises(LosaError, match=r"empty: expected the folder of a study .* it holds no results"):
        read_members([str(sweeps / "one"), str(sweeps / "empty")])


def test_a_place_that_does_not_exist_is_refused(sweeps: Path, tmp_path: Path) -> None:
    shutil.rmtree(sweeps / "two")
    (tmp_path / "results.csv").touch()
    with pytest.raises(LosaError, match=r"results\.csv: it is a file"):
        read_members([str(tmp_path / "results.csv")])
    with pytest.raises(LosaError, match="two: there is no such folder"):
        read_members([str(sweeps / "two")])
