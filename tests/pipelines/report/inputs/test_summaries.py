import shutil
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.report.inputs.summaries import costs, found_folder, read_summary, summaries_below


@pytest.fixture
def sweep(tmp_path: Path, make_sweep: Any) -> Path:
    folder: Path = make_sweep(tmp_path / "runs", [AdaptConfig(cache="pets")], [0.5])
    return folder


def test_a_path_is_found_from_the_folder_around_and_by_its_name(sweep: Path, tmp_path: Path) -> None:
    (member,) = (path for path in sweep.iterdir() if path.is_dir())
    assert found_folder(f"runs/{member.name}", sweep) == member
    moved = sweep.rename(tmp_path / "moved")
    assert found_folder(f"runs/{member.name}", moved) == moved / member.name
    assert found_folder("runs/other", moved) is None
    assert found_folder("", moved) is None


@pytest.mark.parametrize("absolute", [False, True])
def test_a_copy_has_its_own_members(
    absolute: bool, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the original still is where the copied file says."""
    monkeypatch.chdir(tmp_path)
    (member,) = (path for path in sweep.iterdir() if path.is_dir())
    copied = tmp_path / "copies/old"
    shutil.copytree(sweep, copied)
    written = str(member) if absolute else f"runs/{member.name}"
    assert found_folder(written, copied) == copied / member.name
    assert found_folder(written, tmp_path / "elsewhere") == (member if absolute else tmp_path / written)


def test_what_is_deep_in_a_folder_that_was_moved(sweep: Path, tmp_path: Path) -> None:
    """As the final members of a benchmark of several tasks."""
    (member,) = (path for path in sweep.iterdir() if path.is_dir())
    moved = tmp_path / "moved"
    shutil.copytree(member, moved / "runs/pets" / member.name)
    written = f"vtab1k/runs/pets/{member.name}"
    assert found_folder(written, moved) == moved / "runs/pets" / member.name


def test_a_folder_without_a_summary(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    assert costs(None) == {}
    assert list(summaries_below(tmp_path)) == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\ud800"])
def test_a_damaged_summary_is_refused(content: str, sweep: Path) -> None:
    (folder, summary), *_ = summaries_below(sweep)
    assert costs(summary)["sites"] == 1
    (folder / "summary.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(LosaError, match=r"summary.json is not the summary of a member, or is damaged"):
        list(summaries_below(sweep))
