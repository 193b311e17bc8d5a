from pathlib import Path

from losa.pipelines.matching_paths import matching_paths


def test_what_exists_is_taken_by_its_name(tmp_path: Path) -> None:
    for name in ("a[1].jpg", "a1.jpg"):
        (tmp_path / name).touch()
    assert matching_paths(str(tmp_path / "a[1].jpg")) == [tmp_path / "a[1].jpg"]


def test_a_pattern_gives_what_it_matches_sorted(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jpg", "a.jpg", "deep/c.jpg", "d.png"):
        (tmp_path / name).touch()
    found = matching_paths(str(tmp_path / "**/*.jpg"))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.jpg", "b.jpg", "deep/c.jpg"]
    assert matching_paths(str(tmp_path / "nothing*")) == []
