"""Plain folders of images or videos: ``root/<split>/<class>/...`` or ``root/<class>/...``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.extract.media import Media
from losa.extract.sources.base import composed
from losa.extract.sources.files import WHOLE, FileList, FileSource, existing_folder, usual_order
from losa.extract.sources.folder_walk import FolderWalk
from losa.extract.sources.frame_folders import FrameFolderSource, frames_by_folder
from losa.extract.sources.labels import in_order, named_labels
from losa.extract.sources.notes import shortened

SPLIT_FOLDERS = ("train", "val", "validation", "test")


def read_folder(root: Path, media: Media = "images") -> FileSource | FrameFolderSource:
    """A folder of images or videos; the class of an image is the first folder below its split.

    If the root has folders named train, val, validation or test, these are the splits, and no image may be
    elsewhere; otherwise the whole root is one split, ``all``. An image that is in no class folder has no
    label. Classes are numbered over all splits: by their numbers if all of their names are numbers, else in
    sorted order. A folder without images is no class: data sets have folders of other things beside those of
    their classes, and a class that no image has cannot be learnt. Links are followed.

    Args:
        root: the folder.
        media: what it holds. A folder with the frames of a video counts as one image.

    Raises:
        LosaError: the folder is missing or holds no images, or some images are in none of its splits.
    """
    walk = FolderWalk(existing_folder(root), media)
    frames = frames_by_folder(root, walk.images) if media == "frames" else {}
    found = sorted(frames, key=lambda path: path.split("/")) if frames else walk.images
    splits = usual_order(name for name in walk.folders[""] if name.lower() in SPLIT_FOLDERS) or [WHOLE]
    paths = dict.fromkeys(splits, found)
    if splits != [WHOLE]:
        paths = {split: [path for path in found if path.startswith(f"{split}/")] for split in splits}
        _refuse_beside(root, splits, found)
    classes = {split: list(_classes(split, paths[split])) for split in splits}
    names = in_order(name for split in splits for name in classes[split] if name is not None)
    files = {
        split: FileList(paths=paths[split], labels={"label": named_labels(classes[split], names)})
        for split in splits
    }
    column = LabelColumn(name="label", num_classes=len(names), classes=names)
    notes = [*walk.notes, *_notes_on_classes(names), *_notes_on_empty(walk, splits)]
    source = FileSource(root, files, [column], notes)
    return FrameFolderSource(source, root, frames) if media == "frames" else source


def _classes(split: str, paths: list[str]) -> Iterator[str | None]:
    """The classes in composed Unicode, because systems spell umlauts differently and splits are copied."""
    start = 0 if split == WHOLE else len(split) + 1
    for path in paths:
        end = path.find("/", start)
        yield None if end < 0 else composed(path[start:end])


def _notes_on_classes(names: tuple[str, ...]) -> Iterator[str]:
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal()]
    if names and len(numbers) == len(names) and numbers != list(range(len(names))):
        yield (
            f"the class folders are named by numbers, but not by 0 to {len(names) - 1}: the label of "
            f"{names[0]}/ is 0, and so on in the order of the numbers"
        )


def _notes_on_empty(walk: FolderWalk, splits: list[str]) -> Iterator[str]:
    parents = [""] if splits == [WHOLE] else splits
    folders = {"/".join(filter(None, (parent, name))) for parent in parents for name in walk.folders[parent]}
    depth = 1 if splits == [WHOLE] else 2
    empty = folders - {"/".join(path.split("/", depth)[:depth]) for path in walk.images}
    if empty:
        yield f"folders without images are no classes: {shortened(sorted(empty))}"


def _refuse_beside(root: Path, splits: list[str], paths: list[str]) -> None:
    tops = Counter(path.partition("/")[0] if "/" in path else "" for path in paths)
    loose = tops.pop("", 0)
    beside = [f"{name}/ ({count:,})" for name, count in sorted(tops.items()) if name not in splits]
    if len(beside) > 8:
        beside[8:] = [f"{len(beside) - 8} more folders"]
    if loose:
        beside.append(f"no folder ({loose:,})")
    if beside:
        raise LosaError(
            f"{root} has split folders ({', '.join(splits)}), and images beside them that "
            f"would be left out: in {', '.join(beside)}.\n"
            f"If these are splits too, name them {', '.join(SPLIT_FOLDERS)}; if all of these folders are "
            "classes, put them into one folder named train and let dataset.root be its parent; "
            "otherwise move the images that do not belong to the data set elsewhere"
        )
