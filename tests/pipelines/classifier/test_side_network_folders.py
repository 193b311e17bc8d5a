import os
from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.classifier.side_network_folders import (
    find_side_networks,
    holds_side_networks,
    load_side_networks,
)


def test_a_folder_a_sweep_and_a_pattern_lead_to_the_same(runs: Path) -> None:
    expected = {"linear-two": runs / "linear-two", "losa-one": runs / "losa-one"}
    assert find_side_networks([runs]) == expected
    assert find_side_networks([str(runs / "l*")]) == expected
    assert find_side_networks([runs.parent]) == expected
    assert find_side_networks([runs / "losa-one", runs]) == dict(reversed(expected.items()))
    assert list(load_side_networks([runs])) == list(expected)


def test_a_relative_place_and_the_current_folder_have_names(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs / "losa-one")
    assert find_side_networks(["."]) == {"losa-one": Path()}


def test_names_tell_folders_of_one_name_apart(tmp_path: Path, make_run, runs: Path) -> None:
    make_run(tmp_path / "again/losa-one")
    found = find_side_networks([tmp_path, runs / "losa-one"])
    assert list(found) == ["again/losa-one", "runs/losa-one"]


def test_a_name_with_the_signs_of_a_pattern_is_a_name(tmp_path: Path, make_run) -> None:
    folder = make_run(tmp_path / "run[1]")
    assert find_side_networks([folder]) == {"run[1]": folder}


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("empty", "it has none: is the training finished"),
        ("file", "it is a file"),
        ("nowhere", "there is no such folder"),
        ("no*", "there is no such folder"),
    ],
)
def test_a_place_without_side_networks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert not holds_side_networks(place)
    with pytest.raises(LosaError, match=reason) as caught:
        find_side_networks([place])
    assert str(caught.value).startswith(f"{place}: expected the folder of a side network")


def test_places_may_be_paths(runs: Path) -> None:
    assert holds_side_networks(os.fspath(runs))
    assert find_side_networks([os.fspath(runs)]) == find_side_networks([runs])
