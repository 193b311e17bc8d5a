"""Drawn scenes: always the same, with the stated number of objects."""

from pathlib import Path

import numpy as np
import pytest

from losa.extract.sources.lists import STANDARD_SPLITS, read_lists
from losa.pipelines.bench.study.drawn_scenes import FEWEST, MOST, SIDE, _places, draw_scene, draw_scenes


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "scenes"
    draw_scenes(folder, {"train": 8, "val": 8, "test": 16})
    return folder


def test_the_lists_are_those_of_a_data_set(drawn: Path) -> None:
    source = read_lists(drawn)
    assert source.splits == STANDARD_SPLITS
    keys = {name: source.contents(name).keys for name in source.splits}
    assert [len(keys[name]) for name in STANDARD_SPLITS] == [8, 8, 16, 16]
    assert keys["train800val200"] == [*keys["train800"], *keys["val200"]]
    assert not set(keys["train800val200"]) & set(keys["test"])
    assert not set(keys["train800"]) & set(keys["val200"])


@pytest.mark.parametrize("split", ["train800", "val200", "test"])
def test_every_number_of_objects_is_equally_frequent(drawn: Path, split: str) -> None:
    labels = read_lists(drawn).contents(split).labels["label"]
    assert set(np.bincount(labels)) == {len(labels) // (MOST - FEWEST + 1)}


def test_a_scene_is_drawn_the_same_again_and_each_differs(drawn: Path, tmp_path: Path) -> None:
    draw_scenes(tmp_path, {"train": 2, "val": 1, "test": 1})
    first, second = (tmp_path / f"images/{number:04d}.png" for number in (0, 1))
    assert first.read_bytes() != second.read_bytes()
    image = draw_scene(5, 4)
    assert image.size == (SIDE, SIDE)
    assert image.tobytes() == draw_scene(5, 4).tobytes()


@pytest.mark.parametrize("objects", [FEWEST, MOST])
def test_objects_do_not_touch_and_stay_within_the_usual_crop(objects: int) -> None:
    for number in range(20):
        places = _places(np.random.default_rng(number), objects)
        assert len(places) == objects
        size = 2 * SIDE
        for place, (x, y, radius) in enumerate(places):
            assert min(x, y, size - x, size - y) - radius > 0.0625 * size
            for a, b, other in places[:place]:
                assert np.hypot(x - a, y - b) > radius + other
