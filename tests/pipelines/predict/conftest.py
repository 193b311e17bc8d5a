"""Side networks of which only the names matter."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from losa.cache_format import LabelColumn


class Names(SimpleNamespace):
    """What a table asks side networks for."""

    def __len__(self) -> int:
        return len(self.names)


@pytest.fixture
def networks_of() -> Callable[[Mapping[str, Mapping[str, Sequence[str]]]], Any]:
    """``networks_of({side network: {label column: names of classes}})``."""

    def make(described: Mapping[str, Mapping[str, Sequence[str]]]) -> Names:
        columns = tuple(
            tuple(
                LabelColumn(name=name, num_classes=len(classes), classes=tuple(classes))
                for name, classes in each.items()
            )
            for each in described.values()
        )
        return Names(names=tuple(described), columns=columns)

    return make
