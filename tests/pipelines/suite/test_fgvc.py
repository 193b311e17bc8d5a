"""FGVC on folders, from the command to the table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_folders_without_a_validation_split(
    command: Command, tmp_path: Path, paint_photo: Any, tiny: list[str]
) -> None:
    for split, count in (("train", 10), ("test", 2)):
        for number in range(2 * count):
            paint_photo(tmp_path / f"root/cub/{split}/{number % 2}/{number}.png", number + 100 * count)
    finished = command(tmp_path, "losa-fgvc", "root=root", "out=out", *tiny)
    assert finished.returncode == 0, finished.stderr
    content = json.loads((tmp_path / "out/results.json").read_text())
    (score,) = content["tasks"][0]["scores"]
    assert (content["tasks"][0]["task"], score["selected_on"], score["test_images"]) == ("cub", "val10", 4)
    assert content["missing"] == ["nabirds", "flowers", "dogs", "cars"]
    told = " ".join(finished.stdout.split())
    assert "18 + 2" in told
    assert "labels of 2 classes, where FGVC has 200: cub" in told
