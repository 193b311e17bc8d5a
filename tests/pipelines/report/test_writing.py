from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.report.writing import write_page


@pytest.fixture
def sweep(tmp_path: Path, make_sweep: Any) -> Path:
    folder: Path = make_sweep(tmp_path / "pets", [AdaptConfig(cache="pets")], [0.5])
    return folder


def test_the_page_is_in_the_first_folder(sweep: Path) -> None:
    path = write_page([str(sweep)], None, hardest=0)
    assert path == sweep / "report.html"
    assert "<title>pets</title>" in path.read_text(encoding="utf-8")


def test_another_file_and_another_title(sweep: Path, tmp_path: Path) -> None:
    path = write_page([str(sweep)], tmp_path / "new/page.html", hardest=0, title="Cats & dogs")
    assert path == tmp_path / "new/page.html"
    assert "<title>Cats &amp; dogs</title>" in path.read_text(encoding="utf-8")
    assert not (sweep / "report.html").exists()


def test_a_folder_of_images_that_does_not_exist_is_refused(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(LosaError, match=r"--images .*photos: there is no such folder"):
        write_page([str(sweep)], None, image_folders=[str(tmp_path / "photos")])


def test_a_page_replaces_a_page_and_nothing_else(sweep: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page([str(sweep)], path, hardest=0, title="one")
    write_page([str(sweep)], path, hardest=0, title="two")
    assert "<title>two</title>" in path.read_text(encoding="utf-8")
    path.write_bytes(b"mine")
    with pytest.raises(LosaError, match=r"--out .*page\.html: expected no file or an HTML page"):
        write_page([str(sweep)], path, hardest=0)
    assert path.read_bytes() == b"mine"
    with pytest.raises(LosaError, match="expected the name of a file, found a folder"):
        write_page([str(sweep)], tmp_path, hardest=0)
