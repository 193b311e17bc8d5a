"""Side networks judged on videos, by one clip or by several."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.adapt import load_side_network
from losa.cache_format import Cache, LabelColumn, LosaError
from losa.cache_format.identity import FrameSampling
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract
from losa.extract.pixels import DEFAULT_DECODING
from losa.pipelines.evaluation.evaluation import evaluate

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

SAMPLING = FrameSampling(frames=2)
COLUMN = LabelColumn(name="label", num_classes=2, classes=("jump", "run"))


@pytest.fixture
def sweep(make_run: Any, tmp_path: Path) -> Path:
    for side in ("linear", "losa", "last", "relay"):
        make_run(
            tmp_path / f"sweep/{side}", side, columns=(COLUMN,), decoding=DEFAULT_DECODING, sampling=SAMPLING
        )
    return tmp_path / "sweep"


@pytest.fixture
def dataset(film: Any, tmp_path: Path) -> DatasetConfig:
    for number in range(5):
        name = "run" if number % 2 else "jump"
        film(tmp_path / f"videos/test/{name}/{number}.mp4", seed=3 * number, frames=6, size=(96, 64))
    return DatasetConfig(kind="folder", name="toy", media="videos", root=str(tmp_path / "videos"))


@pytest.fixture
def cache(dataset: DatasetConfig, tmp_path: Path) -> Path:
    config = ExtractConfig(
        dataset=dataset,
        backbone=BackboneConfig(name="test_vit", pretrained=False),
        cache=str(tmp_path / "cache"),
        splits=["test", "test-clips2x3"],
        frames=2,
        sites=2,
        codec="float32",
        workers=0,
        device="cpu",
    )
    extract(config)
    return tmp_path / "cache"


def rows(folder: Path) -> dict[tuple[str, str], float]:
    (part,) = (folder / "predictions").glob("*.csv")
    with part.open(newline="") as file:
        return {
            (row["image"], row["side_network"]): float(row["probability"])
            * (-1 if row["predicted"] == "run" else 1)
            for row in csv.DictReader(file)
        }


def test_clips_are_averaged_of_videos_and_of_caches(
    sweep: Path, dataset: DatasetConfig, cache: Path, configured: Any, tmp_path: Path
) -> None:
    live = configured(dataset=dataset, clips=2, crops=3, out=str(tmp_path / "live"), limit=None)
    several = evaluate([str(sweep)], live)
    stored = configured(cache=str(cache), eval_split="test-clips2x3", out=str(tmp_path / "stored"))
    assert rows(evaluate([str(sweep)], stored).folder) == pytest.approx(rows(several.folder), abs=1e-4)
    assert {each.images for each in several.results.judgements} == {5}

    split = Cache(cache).split("test-clips2x3")
    codes = split.cache.codec(split.sites).decode(split.read(np.arange(len(split))))
    for side in ("losa", "relay"):
        probabilities = load_side_network(sweep / side).scores(codes)["label"].softmax(-1)
        expected = probabilities.view(5, 6, 2).mean(1).numpy()
        for number, key in enumerate(dict.fromkeys(key.partition("?")[0] for key in split.keys)):
            jump, run = expected[number]
            found = rows(several.folder)[key, side]
            assert found == pytest.approx(jump if jump > run else -run, abs=1e-4)
    # One clip says something else.
    one = evaluate([str(sweep)], configured(dataset=dataset, out=str(tmp_path / "one"), limit=None))
    assert rows(one.folder) != pytest.approx(rows(several.folder), abs=1e-6)


def test_a_video_with_a_bad_end_is_counted_once(
    sweep: Path, dataset: DatasetConfig, configured: Any, tmp_path: Path
) -> None:
    path = tmp_path / "videos/test/run/3.mp4"
    path.write_bytes(path.read_bytes()[:-300])
    done = evaluate([str(sweep)], configured(dataset=dataset, clips=3, on_error="skip", limit=None))
    (reason,) = done.results.invalid_images
    assert reason.startswith("test/run/3.mp4: ")
    assert {each.images for each in done.results.judgements} == {4}


class TestRefusals:
    def test_images_for_side_networks_of_videos(self, sweep: Path, configured: Any) -> None:
        with pytest.raises(LosaError, match=r"were trained on videos, found images: dataset\.media=videos"):
            evaluate([str(sweep)], configured())

    def test_videos_for_side_networks_of_images(
        self, make_run: Any, dataset: DatasetConfig, configured: Any, tmp_path: Path
    ) -> None:
        make_run(tmp_path / "runs/linear", "linear", decoding=DEFAULT_DECODING)
        with pytest.raises(LosaError, match=r"were trained on images, found videos"):
            evaluate([str(tmp_path / "runs")], configured(dataset=dataset))

    def test_clips_of_images(self, make_run: Any, configured: Any, tmp_path: Path) -> None:
        make_run(tmp_path / "runs/linear", "linear", decoding=DEFAULT_DECODING)
        with pytest.raises(LosaError, match=r"clips=2 is meant for videos"):
            evaluate([str(tmp_path / "runs")], configured(clips=2))

    def test_clips_of_a_cache(self, configured: Any) -> None:
        with pytest.raises(ValueError, match=r"crops=3: a cache has its clips already, in a split"):
            configured(cache="here", crops=3)
