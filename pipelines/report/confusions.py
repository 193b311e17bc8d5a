"""What the best side network of a task confuses: counts of pairs of classes, over all of its seeds."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losa.adapt.members.member_files import CONFUSION_NAME
from losa.cache_format import LosaError
from losa.pipelines.report.configurations import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassConfusion:
    """Pairs of true and predicted class in one label column."""

    column: str
    counts: Mapping[tuple[int, int], int]
    """(true, predicted) -> number of images, over all seeds."""
    names: Sequence[str] | None
    """Names of the classes; None if they have numbers only."""

    @property
    def classes(self) -> Sequence[int]:
        """Classes that occur, in order."""
        return sorted({number for pair in self.counts for number in pair})

    def name(self, number: int) -> str:
        """The name of a class, or its number."""
        return str(number) if self.names is None else self.names[number]

    def of_class(self) -> Counter[int]:
        """Number of images of each true class."""
        images: Counter[int] = Counter()
        for (true, _), count in self.counts.items():
            images[true] += count
        return images

    def most_confused(self, most: int) -> list[tuple[str, str, int, float]]:
        """Pairs of different classes, the most frequent first: names, images, share of the true class."""
        images = self.of_class()
        wrong = [(count, pair) for pair, count in self.counts.items() if pair[0] != pair[1]]
        wrong.sort(key=lambda found: (-found[0], -found[0] / images[found[1][0]], found[1]))
        return [
            (self.name(true), self.name(predicted), count, count / images[true])
            for count, (true, predicted) in wrong[:most]
        ]


def read_confusions(task: Task) -> list[ClassConfusion]:
    """The confusion of each label column on the split that decides; none if it was not recorded.

    Raises:
        LosaError: a file is damaged.
    """
    if task.examined is None:
        return []
    counts: dict[str, Counter[tuple[int, int]]] = {}
    names: dict[str, Sequence[str] | None] = {}
    for folder in task.examined.folders:
        path = folder / CONFUSION_NAME
        content = _read(path)
        try:
            for column, pairs in content.get("splits", {}).get(task.split, {}).items():
                names[column] = content["classes"][column]
                found = counts.setdefault(column, Counter())
                for true, predicted, images in pairs:
                    found[int(true), int(predicted)] += int(images)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _damaged(path) from None
    return [
        ClassConfusion(column=column, counts=found, names=names[column]) for column, found in counts.items()
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        raise _damaged(path) from None
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> LosaError:
    return LosaError(f"{path} is damaged; losa-adapt with overwrite=true trains the member again")
