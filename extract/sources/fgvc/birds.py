"""The text files of CUB-200-2011 and NABirds: one of paths, one of classes, one of splits, each by image."""

from pathlib import Path

from losa.cache_format.errors import LosaError
from losa.extract.sources.fgvc.annotations import AnnotatedSplit, Annotations, ClassId
from losa.extract.sources.text import read_text, split_lines

_SPLITS = {"1": "train", "0": "test"}


def read_birds(root: Path) -> Annotations:
    """Read images.txt, image_class_labels.txt, train_test_split.txt and classes.txt.

    Raises:
        LosaError: one is missing, a line is wrong, or an image of one is not in another.
    """
    images = root / "images.txt"
    paths = _read(images)
    classes = {image: _integer(*entry) for image, entry in _read(root / "image_class_labels.txt").items()}
    parts = _read(root / "train_test_split.txt")
    names: dict[ClassId, str] = {
        _integer(key, number, root / "classes.txt"): name
        for key, (name, number, _) in _read(root / "classes.txt").items()
    }
    chosen: dict[str, list[str]] = {split: [] for split in _SPLITS.values()}
    for image in paths:
        for name, known in (("image_class_labels.txt", classes), ("train_test_split.txt", parts)):
            if image not in known:
                raise LosaError(f"{root / name} lacks image {image}, which {images} lists")
        part, number, file = parts[image]
        if part not in _SPLITS:
            raise LosaError(f"{file}, line {number}: expected 1 (train) or 0 (test), found {part!r}")
        chosen[_SPLITS[part]].append(image)
    splits = {
        split: AnnotatedSplit(
            file=images,
            paths=[f"images/{paths[image][0]}" for image in ids],
            classes=[classes[image] for image in ids],
            numbers=[paths[image][1] for image in ids],
            unit="line",
        )
        for split, ids in chosen.items()
    }
    return Annotations(splits=splits, names=names)


def _read(file: Path) -> dict[str, tuple[str, int, Path]]:
    """First word of each line -> the rest, the number of the line, and the file."""
    entries = {}
    for number, line in enumerate(split_lines(read_text(file, None)), start=1):
        if not line.strip():
            continue
        key, _, value = line.strip().partition(" ")
        if not value:
            raise LosaError(f"{file}, line {number}: expected two values, found {line!r}")
        entries[key] = (value.strip(), number, file)
    return entries


def _integer(text: str, number: int, file: Path) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise LosaError(f"{file}, line {number}: expected the number of a class, found {text!r}")
    return int(text)
