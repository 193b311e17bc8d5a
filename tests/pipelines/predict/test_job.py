import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.extract.live import LiveActivations
from losa.pipelines import load
from losa.pipelines.predict.job import split_runs

Command = Callable[..., Any]
VIEW = "a.png?view=2&crop=0.6&flip=1"


@pytest.fixture
def folder(tmp_path: Path, runs: Path, paint_photo: Any) -> Path:
    """A folder with ``runs`` and ``photos``; one of its three photos is a text."""
    shutil.copytree(runs, tmp_path / "runs")
    for number, name in enumerate(("a.png", "b.png")):
        paint_photo(tmp_path / "photos" / name, number)
    (tmp_path / "photos/text.jpg").write_text("hello")
    return tmp_path


def test_csv_of_a_folder_equals_the_classifier(command: Command, folder: Path) -> None:
    options = "runs photos top=2 format=csv workers=0 batch_size=2 device=cpu"
    finished = command(folder, "losa-predict", *options.split())
    assert finished.returncode == 0, finished.stderr
    rows = list(csv.DictReader(io.StringIO(finished.stdout)))
    found = load(folder / "runs", device="cpu").predict([folder / "photos/a.png", folder / "photos/b.png"], 2)
    told = [(row["side_network"], row["class"]) for row in rows]
    assert told == [(each.side_network, likely.name) for each in found for likely in each.classes]
    expected = [likely.probability for each in found for likely in each.classes]
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected, abs=1e-5)
    assert [row["image"] for row in rows[::4]] == ["photos/a.png", "photos/b.png"]
    assert "skipped: photos/text.jpg: not an image in a format that Pillow knows\n" in finished.stderr
    assert "1 of 3 images could not be read, and are left out\n" in finished.stderr


def test_decoding_processes_change_nothing(command: Command, folder: Path) -> None:
    alone, together = (
        command(folder, "losa-predict", "runs", "photos", "format=json", f"workers={workers}").stdout
        for workers in (0, 2)
    )
    assert alone == together != ""


def test_a_file_of_results(command: Command, folder: Path) -> None:
    finished = command(folder, "losa-predict", "runs/losa-one", "photos/a.png", "format=json", "out=o.jsonl")
    assert (finished.returncode, finished.stdout) == (0, "")
    assert finished.stderr.endswith("o.jsonl: predictions for 1 image\n")
    (line,) = (folder / "o.jsonl").read_text().splitlines()
    assert json.loads(line)["predictions"][0]["side_network"] == "losa-one"


def test_a_table_for_people(command: Command, folder: Path) -> None:
    one = command(folder, "losa-predict", "runs/losa-one", "photos/*.png", "top=1", "workers=0").stdout
    assert [line.split("   ")[0] for line in one.splitlines()] == ["photos/a.png", "photos/b.png"]
    two = command(folder, "losa-predict", "runs", "photos/*.png", "workers=0").stdout.splitlines()
    assert two[0] == "photos/a.png"
    assert (two[1].split()[0], two[2].split()[0], two[3]) == ("linear-two", "losa-one", "")


def test_an_ensemble_gives_one_answer(command: Command, folder: Path) -> None:
    arguments = ["runs", "photos/*.png", "workers=0", "format=json", "top=3", "device=cpu"]
    each, together = (
        [json.loads(line)["predictions"] for line in finished.stdout.splitlines()]
        for finished in (
            command(folder, "losa-predict", *arguments),
            command(folder, "losa-predict", *arguments, "ensemble=true"),
        )
    )
    assert len(each) == len(together) == 2
    for members, (ensemble,) in zip(each, together, strict=True):
        assert ensemble["side_network"] == "ensemble"
        mean = Counter[str]()
        for likely in (likely for member in members for likely in member["classes"]):
            mean[likely["name"]] += likely["probability"] / 2
        found = {likely["name"]: likely["probability"] for likely in ensemble["classes"]}
        assert found == pytest.approx(mean, abs=1e-5)


def test_a_file_named_like_a_view_is_a_file(command: Command, folder: Path, paint_photo: Any) -> None:
    paint_photo(folder / "photos" / VIEW, 7)
    finished = command(folder, "losa-predict", "runs", f"photos/{VIEW}", "format=json", "workers=0")
    assert finished.returncode == 0, finished.stderr
    found = load(folder / "runs", device="cpu").predict([folder / "photos" / VIEW])
    told = json.loads(finished.stdout)
    assert told["image"] == f"photos/{VIEW}"
    likeliest = [each["classes"][0]["probability"] for each in told["predictions"]]
    assert likeliest == pytest.approx([each.best.probability for each in found], abs=1e-5)


def test_files_that_cannot_be_read_at_the_moment_are_named_and_skipped(
    command: Command, folder: Path
) -> None:
    (folder / "photos/loop.jpg").symlink_to("loop.jpg")
    (folder / "photos/gone.jpg").symlink_to("nowhere.jpg")
    finished = command(folder, "losa-predict", "runs", "photos", "format=csv", "workers=0")
    assert finished.returncode == 0
    assert "skipped: photos/gone.jpg: No such file or directory" in finished.stderr
    assert "skipped: photos/loop.jpg: Too many levels of symbolic links" in finished.stderr
    assert "3 of 5 images could not be read" in finished.stderr


def test_names_of_files_cannot_steer_the_terminal(command: Command, folder: Path) -> None:
    (folder / "photos/\x1b[2J.jpg").write_text("hello")
    finished = command(folder, "losa-predict", "runs", "photos", "workers=0")
    assert "\x1b" not in finished.stdout + finished.stderr
    assert r"skipped: photos/\x1b[2J.jpg: not an image" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name side networks, then images: losa-predict runs/sweep photo.jpg"),
        (["runs"], "there are no images: name files, folders or patterns after the side networks"),
        (["photos"], "photos: expected the folder of a side network"),
        (["runs", "empty"], "empty holds no images"),
        (["runs", "nowhere.jpg"], "nowhere.jpg: there is no such file or folder"),
        (["runs", "photos/text.jpg", "workers=0"], "no image could be read"),
        (["runs", "photos", "backbone.seed=9"], "not the backbone that the side networks were trained on"),
        (["runs", "photos", "backbone.name=test_vit2"], "expected test_vit, found test_vit2"),
        (["runs", "photos", "backbone=vit_b16"], "backbone=...: there are no presets to choose from"),
        (["runs", "photos", "top=0"], "top=0: input should be greater than or equal to 1"),
        (["runs/losa-one", "photos", "ensemble=true"], "an ensemble needs at least two side networks"),
        (["runs", "photos", "format=xml"], "format=xml: expected one of table, csv, json"),
        (["runs", "photos", "out=nowhere/o.csv"], "there is no folder nowhere"),
        (["runs", "photos", "-m"], "-m, --multirun: this command is no sweep"),
        (["runs", "photos", "--cfg"], "--cfg"),
        (["broken", "photos"], "broken/side_network.safetensors is damaged"),
        (["runs", "other", "photos"], "linear-two and other differ in\n  preprocessing.crop_pct"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_told_and_nothing_is_written(
    command: Command, folder: Path, make_run: Any, arguments: list[str], message: str
) -> None:
    (folder / "empty").mkdir()
    if arguments[:1] == ["broken"]:
        tensors = make_run(folder / "broken") / "side_network.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:100])
    if "other" in arguments:
        make_run(folder / "other", crop_pct=0.5)
    before = sorted(folder.rglob("*"))
    out = [] if any(argument.startswith("out=") for argument in arguments) else ["out=o.csv"]
    finished = command(folder, "losa-predict", *arguments, *out)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
    assert sorted(folder.rglob("*")) == before


def test_an_interruption_is_told_without_a_promise(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveActivations, "__iter__", stop)
    finished = command(folder, "losa-predict", "runs", "photos", "workers=0", "out=o.csv")
    assert finished.returncode == 130
    assert finished.stderr.endswith("interrupted\n")
    assert not (folder / "o.csv").exists()


def test_leading_places_with_side_networks_are_the_runs(runs: Path, tmp_path: Path) -> None:
    one, two = str(runs / "losa-one"), str(runs / "linear-*")
    assert split_runs([one, two, "a.jpg", one]) == ([one, two], ["a.jpg", one])
    with pytest.raises(LosaError, match=r"^a\.jpg: expected the folder of a side network"):
        split_runs(["a.jpg", one])
