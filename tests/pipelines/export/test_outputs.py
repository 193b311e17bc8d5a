from dataclasses import dataclass

import pytest

from losa.cache_format import LabelColumn
from losa.pipelines.export.outputs import outputs_of


@dataclass
class Named:
    """What `outputs_of` reads of stacked side networks."""

    names: tuple[str, ...]
    columns: tuple[tuple[LabelColumn, ...], ...]

    @property
    def members(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for name in self.names)

    def __len__(self) -> int:
        return len(self.names)


def columns(*names: str) -> tuple[LabelColumn, ...]:
    return tuple(LabelColumn(name=name, num_classes=2) for name in names)


@pytest.mark.parametrize(
    ("networks", "names"),
    [
        (Named(("losa",), (columns("label"),)), ["label"]),
        (Named(("losa",), (columns("genus", "species"),)), ["genus", "species"]),
        (Named(("losa", "b/last"), (columns("label"), columns("x"))), ["losa/label", "b/last/x"]),
        (Named(("losa",), (columns("images", "label"),)), ["losa/images", "label"]),
    ],
)
def test_names(networks: Named, names: list[str]) -> None:
    assert [output.name for output in outputs_of(networks)] == names


def test_an_output_knows_whose_scores_it_has() -> None:
    networks = Named(("a", "b"), (columns("x", "y"), columns("z")))
    found = [(output.side_network, output.column.name) for output in outputs_of(networks)]
    assert found == [("a", "x"), ("a", "y"), ("b", "z")]
