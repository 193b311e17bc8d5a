import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from losa.cache_format import LabelColumn, LosaError
from losa.extract import DatasetConfig
from losa.extract.pixels import DEFAULT_DECODING
from losa.pipelines.evaluation import evaluation
from losa.pipelines.evaluation.evaluation import evaluate


def predictions(folder: Path) -> list[dict[str, str]]:
    """All rows, in the order of the files."""
    rows = []
    for part in sorted((folder / "predictions").glob("*.csv")):
        with part.open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def test_a_cache_and_the_images_themselves_give_the_same(
    sweep: Path, digits: Any, configured: Any, tmp_path: Path
) -> None:
    live = evaluate([str(sweep)], configured(out=str(tmp_path / "live")))
    cached = evaluate([str(sweep)], configured(out=str(tmp_path / "cached"), cache=str(digits("float32"))))
    for one, two in zip(live.results.judgements, cached.results.judgements, strict=True):
        assert (one.side_network, one.top1, one.images) == (two.side_network, two.top1, two.images)
        assert one.nll == pytest.approx(two.nll, abs=1e-4)
    for one, two in zip(predictions(live.folder), predictions(cached.folder), strict=True):
        assert one["predicted"] == two["predicted"]
        assert float(one["probability"]) == pytest.approx(float(two["probability"]), abs=1e-4)
    rounded = evaluate([str(sweep)], configured(out=str(tmp_path / "int8"), cache=str(digits("int8"))))
    found = predictions(rounded.folder)
    same = [
        one["predicted"] == two["predicted"] for one, two in zip(found, predictions(live.folder), strict=True)
    ]
    assert np.mean(same) > 0.95


def test_sums_and_pooled_grids_are_computed_of_images_too(
    make_run: Any, digits: Any, configured: Any, tmp_path: Path
) -> None:
    column = LabelColumn(name="label", num_classes=10, classes=tuple("0123456789"))
    small: dict[str, Any] = {"sites": ["sum:all", 1], "grid": (5, 2)}
    make_run(tmp_path / "runs/last", "last", columns=(column,), decoding=DEFAULT_DECODING, **small)
    cache = digits("float32", sites=["sum:all", 1], grid="5x2")
    places = [str(tmp_path / "runs")]
    (live,) = evaluate(places, configured(out=str(tmp_path / "live"))).results.judgements
    (cached,) = evaluate(
        places, configured(out=str(tmp_path / "cached"), cache=str(cache))
    ).results.judgements
    assert live.top1 == cached.top1
    assert live.nll == pytest.approx(cached.nll, abs=1e-4)
    with pytest.raises(LosaError, match=r"tokens\.grid: expected \(5, 2\), found \(10, 10\)"):
        evaluate(places, configured(cache=str(digits("float32"))))


def test_what_is_written(sweep: Path, configured: Any) -> None:
    done = evaluate([str(sweep)], configured())
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"results.json", "results.csv", "confusion.json", "predictions"}
    rows = predictions(done.folder)
    assert len(rows) == 24 * 3
    assert [row["side_network"] for row in rows[:3]] == ["last", "linear", "losa"]
    confusion = json.loads((done.folder / "confusion.json").read_text())
    top1 = [each.top1 for each in done.results.judgements]
    assert top1 == sorted(top1, reverse=True)
    for each in done.results.judgements:
        mine = [row for row in rows if row["side_network"] == each.side_network]
        assert each.top1 == np.mean([row["correct"] == "true" for row in mine])
        assert all((row["label"] == row["predicted"]) == (row["correct"] == "true") for row in mine)
        pairs = confusion[each.side_network]["splits"]["test"]["label"]
        assert sum(count for true, predicted, count in pairs if true == predicted) == each.top1 * 24
    with (done.folder / "results.csv").open() as file:
        assert [float(row["top1"]) for row in csv.DictReader(file)] == top1


def test_an_ensemble_is_judged_beside_its_members(sweep: Path, configured: Any, tmp_path: Path) -> None:
    alone = evaluate([str(sweep)], configured())
    done = evaluate([str(sweep)], configured(out=str(tmp_path / "ensemble"), ensemble=True))
    (ensemble,) = (each for each in done.results.judgements if each.side_network == "ensemble")
    assert [each for each in done.results.judgements if each != ensemble] == alone.results.judgements
    assert ensemble.nll <= np.mean([each.nll for each in alone.results.judgements])  # it is convex
    rows = [row for row in predictions(done.folder) if row["side_network"] == "ensemble"]
    assert ensemble.top1 == np.mean([row["correct"] == "true" for row in rows])
    with pytest.raises(LosaError, match="holds another evaluation"):
        evaluate([str(sweep)], configured(out=str(tmp_path / "ensemble")))


def test_a_killed_evaluation_goes_on_where_it_was(
    sweep: Path, configured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate([str(sweep)], configured(out=str(tmp_path / "whole"), ensemble=True))
    monkeypatch.setattr(evaluation, "SECONDS_BETWEEN_SAVES", -1.0)
    keys: list[str] = []
    score = evaluation.score

    def killed(*arguments: Any) -> Iterator[Any]:
        for number, batch in enumerate(score(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            keys.extend(batch.keys)
            yield batch

    monkeypatch.setattr(evaluation, "score", killed)
    for _ in range(3):
        try:
            done = evaluate([str(sweep)], configured(ensemble=True))
        except KeyboardInterrupt:
            continue
    assert len(keys) == len(set(keys)) == 24
    assert done.results.judgements == whole.results.judgements
    assert predictions(done.folder) == predictions(whole.folder)
    assert not (done.folder / "progress.safetensors").exists()


def test_a_finished_evaluation_is_read(sweep: Path, configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate([str(sweep)], configured())
    monkeypatch.setattr(evaluation, "score", None)
    assert evaluate([str(sweep)], configured()) == first
    with pytest.raises(TypeError):
        evaluate([str(sweep)], configured(overwrite=True))


def test_a_folder_of_something_else_is_refused(sweep: Path, configured: Any, tmp_path: Path) -> None:
    evaluate([str(sweep)], configured())
    with pytest.raises(LosaError, match="holds another evaluation"):
        evaluate([str(sweep)], configured(limit=3))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/results.csv").write_text("of a sweep")
    for overwrite in (False, True):
        with pytest.raises(LosaError, match=r"not of an evaluation, such as results\.csv"):
            evaluate([str(sweep)], configured(out=str(tmp_path / "runs"), overwrite=overwrite))
    assert (tmp_path / "runs/results.csv").read_text() == "of a sweep"


@pytest.mark.parametrize("name", ["photo.jpg", "predictions/part-mine.csv"])
def test_files_of_somebody_else_are_left_alone(
    name: str, sweep: Path, configured: Any, tmp_path: Path
) -> None:
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(LosaError, match=f"not of an evaluation, such as {path.name}"):
            evaluate([str(sweep)], configured(out=str(tmp_path / "mine"), overwrite=overwrite))
    assert path.read_text() == "mine"
    assert [each for each in (tmp_path / "mine").rglob("*") if each.is_file()] == [path]
    done = evaluate([str(sweep)], configured())
    (done.folder / "predictions/part-mine.csv").write_text("mine")
    evaluate([str(sweep)], configured(overwrite=True))
    assert (done.folder / "predictions/part-mine.csv").read_text() == "mine"


def test_a_file_is_no_folder(sweep: Path, configured: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(LosaError, match=r"mine: expected a folder, found a file"):
        evaluate([str(sweep)], configured(out=str(tmp_path / "mine")))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_refused_before_images_are_judged(
    sweep: Path, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score", None)
    with pytest.raises(LosaError, match=r"^out=/proc/x: cannot be written \(.*\): choose another place$"):
        evaluate([str(sweep)], configured(out="/proc/x"))


def test_parquet_holds_the_same(sweep: Path, configured: Any, tmp_path: Path) -> None:
    text = evaluate([str(sweep)], configured())
    done = evaluate([str(sweep)], configured(predictions="parquet", out=str(tmp_path / "parquet")))
    rows = parquet.read_table(done.folder / "predictions").to_pylist()
    expected = predictions(text.folder)
    assert [row["predicted"] for row in rows] == [row["predicted"] for row in expected]
    assert [row["correct"] for row in rows] == [row["correct"] == "true" for row in expected]


@pytest.fixture
def folder(tmp_path: Path) -> DatasetConfig:
    """Photos of two of the classes, one of which is none."""
    for number in range(6):
        path = tmp_path / f"photos/{7 + number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number).save(path)
    (tmp_path / "photos/7/2.png").write_text("no image")
    return DatasetConfig(kind="folder", name="photos", root=str(tmp_path / "photos"))


def test_invalid_images_are_refused_or_counted(sweep: Path, configured: Any, folder: Any) -> None:
    options = {"dataset": folder, "eval_split": "all", "limit": None}
    with pytest.raises(LosaError, match=r"7/2\.png"):
        evaluate([str(sweep)], configured(**options))
    assert not Path(configured().out).exists()
    done = evaluate([str(sweep)], configured(on_error="skip", **options))
    assert {(each.images, each.invalid) for each in done.results.judgements} == {(5, 1)}
    assert [line.partition(":")[0] for line in done.results.invalid_images] == ["7/2.png"]
    assert {row["label"] for row in predictions(done.folder)} == {"7", "8"}


def test_a_part_of_a_folder(sweep: Path, configured: Any, folder: Any) -> None:
    options = {"dataset": folder, "on_error": "skip", "limit": None}
    done = evaluate([str(sweep)], configured(split=0.5, **options))
    assert {each.images + each.invalid for each in done.results.judgements} == {3}
    with pytest.raises(LosaError, match=r"no split 'test'; it has: all\. Choose one with eval_split=all"):
        evaluate([str(sweep)], configured(overwrite=True, **options))
