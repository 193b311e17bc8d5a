"""Lists in JSON, one for each split, as VPT (arXiv 2203.12119) published them: path -> class."""

import json
from pathlib import Path

from losa.cache_format.errors import LosaError
from losa.extract.sources.fgvc.annotations import AnnotatedSplit, Annotations, ClassId
from losa.extract.sources.text import read_text


def read_json_lists(root: Path, folder: str) -> Annotations:
    """Read train.json and, if they exist, val.json and test.json.

    A class is named after its folder, if its images are in one that has no others, and else by its number.

    Args:
        root: the folder of the lists.
        folder: where their paths begin, relative to the root: empty, or with a slash at its end.

    Raises:
        LosaError: a list is no mapping of paths to numbers or names.
    """
    files = {split: root / f"{split}.json" for split in ("train", "val", "test")}
    lists = {split: _read(file) for split, file in files.items() if file.exists()}
    splits = {
        split: AnnotatedSplit(
            file=files[split],
            paths=[folder + path for path in entries],
            classes=list(entries.values()),
            numbers=range(1, len(entries) + 1),
        )
        for split, entries in lists.items()
    }
    return Annotations(splits=splits, names=_names(splits))


def _read(file: Path) -> dict[str, ClassId]:
    try:
        content = json.loads(read_text(file, None))
    except (ValueError, RecursionError) as error:
        raise LosaError(f"{file} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise LosaError(f"{file}: expected an object, of paths and their classes")
    for path, one in content.items():
        if not path or isinstance(one, bool) or not isinstance(one, int | str):
            raise LosaError(
                f"{file}: expected paths and numbers or names of classes, found {path!r}: {one!r}"
            )
    return content


def _names(splits: dict[str, AnnotatedSplit]) -> dict[ClassId, str]:
    folders: dict[ClassId, set[str]] = {}
    classes: dict[str, set[ClassId]] = {}
    for split in splits.values():
        for path, one in zip(split.paths, split.classes, strict=True):
            if one is not None:
                folder = path.rpartition("/")[0]
                folders.setdefault(one, set()).add(folder)
                classes.setdefault(folder, set()).add(one)
    if any(len(found) > 1 for found in folders.values()) or any(len(found) > 1 for found in classes.values()):
        return {}
    return {one: found.pop().rpartition("/")[2] or str(one) for one, found in folders.items()}
