"""From the folders of results to the file of the page."""

from collections.abc import Sequence
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import make_folder, publish
from losa.cache_format.storage.paths import local_path
from losa.extract.sources.base import StoredImages
from losa.extract.sources.digits import DigitsSource
from losa.pipelines.matching_paths import matching_paths
from losa.pipelines.replaced_file import refuse_other_file
from losa.pipelines.report.html import render
from losa.pipelines.report.inputs import read_members
from losa.pipelines.report.report import make_report
from losa.pipelines.report.thumbnails import ImageFolder, Thumbnails

REPORT_NAME = "report.html"


def write_page(
    runs: Sequence[str],
    out: Path | None,
    *,
    image_folders: Sequence[str] = (),
    hardest: int = 24,
    title: str | None = None,
    device: str = "cpu",
) -> Path:
    """Write the page of some results. An older file is replaced whole.

    Args:
        runs: folders of results, or patterns of folders.
        out: the file; None for ``report.html`` in the first folder.
        image_folders: folders that keys of images are relative to.
        hardest: as in `make_report`.
        title: of the page; None for the names of the folders.
        device: as in `make_report`.

    Returns:
        The file.

    Raises:
        LosaError: there are no results, they are damaged, a folder of images does not exist, or the file
            cannot be written or is no page.
    """
    members = read_members(runs)
    folders = [path for place in runs for path in matching_paths(place) if path.is_dir()]
    path = out or folders[0] / REPORT_NAME
    refuse_other_file("--out ", path, lambda head: head[:9].lower() == b"<!doctype", "an HTML page")
    report = make_report(
        title or ", ".join(folder.resolve().name for folder in folders),
        members,
        hardest=hardest,
        device=device,
        thumbnails=Thumbnails([*(_image_folder(folder) for folder in image_folders), *_bundled_images()]),
    )
    make_folder(path.parent)
    publish(path, render(report).encode())
    return path


def _image_folder(text: str) -> StoredImages:
    folder = local_path(text)
    if not folder.is_dir():
        raise LosaError(f"--images {text}: there is no such folder")
    return ImageFolder(folder)


def _bundled_images() -> list[StoredImages]:
    """Images that need no folder: the digits of ``dataset=digits``, where they are installed."""
    try:
        return [DigitsSource()]
    except LosaError:
        return []
