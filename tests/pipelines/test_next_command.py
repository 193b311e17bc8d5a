"""What losa-extract prints as the next command works as it is printed."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]
QUICK = ["epochs=1", "device=cpu", "out=runs"]


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture
def follow(command: Command, tmp_path: Path) -> Callable[..., list[str]]:
    """``follow(*options)``: extract, then run what is printed until a member is trained; the commands run."""

    def follow(*options: str, backbone: str = "test_vit") -> list[str]:
        arguments = ["losa-extract", f"backbone.name={backbone}", "backbone.pretrained=false", "sites=1"]
        arguments += ["workers=0", *options]
        commands = []
        while True:
            extra = QUICK if arguments[0] == "losa-adapt" else []
            done = command(tmp_path, *arguments, *extra)
            assert done.returncode == 0, done.stderr
            commands.append(shlex.join(arguments))
            if extra:
                return commands[1:]
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("next: ")]
            arguments = shlex.split(line.removeprefix("next: "))

    return follow


def test_the_digits_have_the_default_splits(follow):
    assert follow("limit=20", "cache=c") == ["losa-adapt cache=c side=losa rank=8"]


def test_folders_with_splits_in_a_place_with_an_odd_name(follow, tmp_path):
    root = tmp_path / "my photos (1), v=2"
    for number in range(4):
        for split in ("train", "val"):
            paint(root / split / "ab"[number % 2] / f"{number}.png", number)
    (printed,) = follow("dataset=folder", f'dataset.root="{root}"', 'cache="my cache, #1"')
    assert shlex.split(printed)[1:] == [
        'cache="my cache, #1"',
        "train_split=train",
        "eval_split=val",
        "side=losa",
        "rank=8",
    ]


def test_a_data_set_without_splits_is_cut_first(follow, tmp_path):
    for number in range(10):
        paint(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", number)
    cutting, training = follow("dataset=folder", "dataset.root=photos", "cache=c")
    assert cutting.startswith("losa-extract ")
    assert cutting.endswith(" cache=c split=0.8")
    assert training == "losa-adapt cache=c train_split=train eval_split=test side=losa rank=8"


def test_of_two_splits_only_one_has_labels(follow, tmp_path):
    for number in range(10):
        paint(tmp_path / "photos/train" / "ab"[number % 2] / f"{number}.png", number)
        paint(tmp_path / f"photos/test/{number}.png", 100 + number)
    cutting, training = follow("dataset=folder", "dataset.root=photos", "cache=c")
    assert cutting.endswith(" cache=c split_of=train 'split={fit:0.8,held:0.2}'")
    assert training == "losa-adapt cache=c train_split=fit eval_split=held side=losa rank=8"


def test_a_backbone_without_a_class_token(follow):
    for backbone in ("test_vit3", "test_vit2"):
        follow("limit=20", f"cache={backbone}", backbone=backbone)


def test_a_label_column_of_another_name(follow, tmp_path):
    lines = ["image,kind,colour,split"]
    for number in range(8):
        paint(tmp_path / f"photos/{number}.png", number)
        lines.append(
            f"{number}.png,{'cat' if number % 2 else 'ant'},{number % 3},{'train' if number < 6 else 'test'}"
        )
    (tmp_path / "photos/table.csv").write_text("\n".join(lines) + "\n")
    options = ["dataset.root=photos", "dataset.file=table.csv", "dataset.label_columns=[kind,colour]"]
    (printed,) = follow("dataset=table", *options, "cache=c")
    assert printed.startswith("losa-adapt cache=c label=kind train_split=train eval_split=test ")


def test_images_of_one_class_are_said_to_be_nothing_to_train_on(command, tmp_path):
    options = ["backbone.name=test_vit", "backbone.pretrained=false", "sites=1", "workers=0", "limit=1"]
    done = command(tmp_path, "losa-extract", *options, "cache=c")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(
        "nothing to train on: no split has images of two classes of 'label'. Extract more images, or cut "
        "them otherwise (split=0.8)\n"
    )


def test_images_without_labels_are_said_to_be_nothing_to_train_on(command, tmp_path):
    for number in range(3):
        paint(tmp_path / f"photos/{number}.png", number)
    options = ["dataset=folder", "dataset.root=photos", "cache=c", "backbone.name=test_vit"]
    done = command(tmp_path, "losa-extract", *options, "backbone.pretrained=false", "workers=0")
    assert done.returncode == 0, done.stderr
    assert "nothing to train on: the images have no labels of two classes or more" in done.stderr
    assert "next: " not in done.stderr
