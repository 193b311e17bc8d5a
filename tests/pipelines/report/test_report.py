from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.pipelines.report import report as reports
from losa.pipelines.report.hardest import HardImage, HardImages
from losa.pipelines.report.inputs import read_members
from losa.pipelines.report.report import make_report
from losa.pipelines.report.thumbnails import Thumbnails


@pytest.fixture
def sweep(tmp_path: Path, make_sweep: Any) -> list[Any]:
    configs = [AdaptConfig(cache="pets", rank=rank) for rank in (2, 4)]
    return read_members([str(make_sweep(tmp_path / "runs", configs, [0.5, 0.25]))])


def test_the_parts_of_a_page(sweep: list[Any]) -> None:
    report = make_report("pets", sweep, hardest=0, device="cpu", thumbnails=Thumbnails([]))
    assert report.counted == "2 members, 2 configurations, 1 task"
    assert report.winners[0].startswith("pets, test: losa rank=2 reaches 50.0 %")
    assert report.pareto is not None
    assert report.curves is not None
    (confusion,) = report.confusions
    assert confusion.title == "pets, test, label: losa rank=2"
    assert [cell.text for cell in confusion.pairs.rows[0]] == ["dog", "cat", "1", "100.0"]
    assert report.hardest == []
    (cache,) = report.caches
    assert cache.facts["now"] == "cannot be read: there is no folder pets"


def test_images_that_cannot_be_judged_again_are_told(
    sweep: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    report = make_report("pets", sweep, hardest=4, device="cpu", thumbnails=Thumbnails([]))
    (shown,) = report.hardest
    assert shown.sentence == "They cannot be told, because there is no folder pets"
    assert "pets: its images cannot be judged again" in caplog.text


@pytest.mark.parametrize(("thumbnail", "missing"), [("data:,", False), (None, True)])
def test_pictures_that_are_missing_are_told(
    thumbnail: str | None, missing: bool, sweep: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = HardImage(
        key="1.jpg",
        true="cat",
        predicted="dog",
        true_probability=0.1,
        predicted_probability=0.9,
        thumbnail=thumbnail,
    )
    found = HardImages(column="label", images=[image], wrong=1, judged=1200)
    monkeypatch.setattr(reports, "hardest_images", lambda *_: [found])
    (shown,) = make_report("pets", sweep, hardest=1, device="cpu", thumbnails=Thumbnails([])).hardest
    assert shown.sentence.startswith(
        "1 of 1,200 images are taken for another class by the mean over the seeds."
    )
    assert ("--images" in shown.sentence) == missing


def test_members_without_files(make_member: Any) -> None:
    """As of trainings through the live backbone."""
    report = make_report("pets", [make_member(0.5)], hardest=4, device="cpu", thumbnails=Thumbnails([]))
    assert (report.curves, report.confusions, report.caches, report.noise) == (None, [], [], None)
    assert (
        report.hardest[0].sentence == "They cannot be told, because the folders of its members were not found"
    )


def test_nothing_was_trained(make_member: Any) -> None:
    members = [make_member(None, status="failed", reason="no memory")]
    report = make_report("pets", members, hardest=4, device="cpu", thumbnails=Thumbnails([]))
    assert (report.pareto, report.hardest, report.failures) == (None, [], ["1 member: no memory"])
