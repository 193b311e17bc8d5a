"""Images named by text lists of ``path label`` lines: the community layout of VTAB-1K."""

from pathlib import Path

import numpy as np

from losa.cache_format.errors import LosaError
from losa.extract.media import Media, file_extensions
from losa.extract.sources.files import (
    USUAL_SPLITS,
    FileList,
    FileSource,
    ListedIn,
    ListedPaths,
    existing_folder,
    usual_order,
)
from losa.extract.sources.labels import numbered_column, parse_label
from losa.extract.sources.text import first_line, read_text, split_lines

STANDARD_SPLITS = ("train800", "val200", "train800val200", "test")


def read_lists(
    root: Path,
    *,
    column: str = "label",
    num_classes: int | None = None,
    encoding: str | None = None,
    media: Media = "images",
) -> FileSource:
    """Lists ``<root>/<split>.txt`` of paths relative to ``root``, with labels from 0, or -1 for none.

    Text files with usual names of splits, such as test.txt, are lists. Any other is one if its first line is
    a path and a label, and the path is that of a file or ends as those of the media do; those that are none
    are named in the notes. The number of classes, unless it is given, is counted over all lists.

    Args:
        root: the folder of the lists.
        column: name of the label column.
        num_classes: number of classes; None: the highest label in any list and one more.
        encoding: encoding of the lists; None: UTF-8, or that of their byte order marks.
        media: what the files are.

    Raises:
        LosaError: the folder or its lists are missing, a line is wrong (the message names file and line),
            or two paths differ only in their Unicode spelling.
    """
    listed = ListedPaths(existing_folder(root))
    lists: dict[str, Path] = {}
    notes = []
    for file in sorted(
        path for path in root.iterdir() if path.suffix.lower() == ".txt" and not path.is_dir()
    ):
        reason = _why_no_list(file, encoding, listed, media)
        if reason is not None:
            notes.append(f"{file} is left out, as no list of images: {reason}")
        elif file.stem in lists:
            raise LosaError(f"{lists[file.stem]} and {file} are lists of one split: rename one")
        else:
            lists[file.stem] = file
    if not lists:
        raise LosaError(
            f"{root} has no lists: expected {', '.join(f'{name}.txt' for name in STANDARD_SPLITS)} "
            "with a line 'path label' for every image (for tables: dataset=table)"
            + "".join(f"\n{note}" for note in notes)
        )
    files = {split: _read_list(lists[split], column, encoding, listed) for split in usual_order(lists)}
    labels = np.concatenate([one.labels[column] for one in files.values()])
    return FileSource(root, files, [numbered_column(column, labels, num_classes, root)], notes)


def has_lists(folder: Path) -> bool:
    """Whether a folder has a list with the usual name of a split, such as test.txt."""
    lists = (file.stem.lower() for file in folder.iterdir() if file.suffix.lower() == ".txt")
    return any(name in USUAL_SPLITS for name in lists)


def _why_no_list(file: Path, encoding: str | None, listed: ListedPaths, media: Media) -> str | None:
    if file.name.startswith("."):
        return "its name begins with a dot"
    if file.stem.lower() in USUAL_SPLITS:
        return None
    line = first_line(file, encoding)
    if not line:
        return "it is empty"
    try:
        path, _ = _parse_line(line)
        if Path(path).suffix.lower() in file_extensions(media) or listed.relative(path) in listed.existing:
            return None
    except LosaError as error:
        return f"its first line: {error}"
    return f"its first line names no file: {line!r}"


def _read_list(file: Path, column: str, encoding: str | None, listed: ListedPaths) -> FileList:
    paths, labels, numbers = [], [], []
    for number, line in enumerate(split_lines(read_text(file, encoding)), start=1):
        if not line or not line.strip(" \t"):
            continue
        try:
            path, label = _parse_line(line)
            paths.append(listed.relative(path))
        except LosaError as error:
            raise LosaError(f"{file}, line {number}: {error}") from None
        labels.append(label)
        numbers.append(number)
    return FileList(
        paths=paths,
        labels={column: np.array(labels, np.int64)},
        listed_in=ListedIn(file=file, numbers=numbers),
    )


def _parse_line(line: str) -> tuple[str, int]:
    text = line.strip(" \t")
    end = max(text.rfind(" "), text.rfind("\t")) + 1
    path, label = text[:end].rstrip(" \t"), parse_label(text[end:])
    if path and label is not None and path[-1] not in ",;":
        return path, label
    hint = ". Tables with commas: dataset=table" if "," in line or ";" in line else ""
    raise LosaError(
        f"expected 'path label', where the label is a number from 0, or -1 for an image without one, "
        f"found {line!r}{hint}"
    )
