from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.places import split_places


def test_places_are_told_from_options_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.jpg").touch()
    arguments = ["runs/x", "top=3", "a=b.jpg", "--cfg", "job", "photos/*.jpg", "~/b.jpg", "+new=1", "~old"]
    places, others = split_places(arguments)
    assert places == ["runs/x", "a=b.jpg", "photos/*.jpg", "~/b.jpg"]
    assert others == ["top=3", "--cfg", "job", "+new=1", "~old"]


def test_an_option_may_be_longer_than_the_name_of_a_file() -> None:
    long = f"out={'n' * 300}"
    assert split_places(["runs", long]) == (["runs"], [long])


def test_a_place_that_is_given_twice_is_taken_twice() -> None:
    assert split_places(["a", "x=1", "a"]) == (["a", "a"], ["x=1"])


def test_a_flag_without_its_value_is_told() -> None:
    with pytest.raises(LosaError, match="--cfg"):
        split_places(["runs/x", "--cfg"])


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_a_sweep_is_refused(flag: str) -> None:
    with pytest.raises(LosaError, match="this command is no sweep"):
        split_places(["runs/x", flag, "top=1,2"])
