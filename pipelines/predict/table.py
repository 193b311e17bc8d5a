"""Predictions as a table for people, which is printed while it grows."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from losa.adapt.trained.stacked import StackedSideNetworks
from losa.pipelines.classifier.prediction import LikelyClass, Prediction, class_name
from losa.pipelines.plain_text import in_one_line

_WIDEST_CLASS = 20
"""Longer names of classes are written out, but the others are not padded to their width."""
_WIDEST_IMAGE = 40
_GAP = "   "
_INDENT = "  "


class PredictionTable:
    """For one side network a line for each image; for several a heading for each image, and a line for each.

    Widths are known before the first image, because all names are.
    """

    head = ""

    def __init__(self, networks: StackedSideNetworks, images: Sequence[str], width: int | None) -> None:
        """Find the widths of the columns.

        Args:
            networks: the side networks.
            images: names of all images.
            width: most characters in a line; None: as many as it takes.
        """
        columns = [column for each in networks.columns for column in each]
        self._several = len(networks) > 1
        self._with_column = any(len(each) > 1 for each in networks.columns) or (
            len({column.name for column in columns}) > 1
        )
        self._names = _widest(networks.names)
        self._columns = _widest(column.name for column in columns)
        widest = _widest(
            class_name(column, number) for column in columns for number in range(column.num_classes)
        )
        self._classes = min(widest, _WIDEST_CLASS)
        self._images = _widest(images)
        self._width = width
        self._headings = self._several or self._with_column or self._images > _WIDEST_IMAGE
        self._first = True

    def of_image(self, image: str, found: Sequence[Prediction]) -> str:
        """See `losa.pipelines.predict.formats.TextFormat`."""
        lines: list[str] = []
        if self._headings:
            lines += [in_one_line(image)] if self._first else ["", in_one_line(image)]
        self._first = False
        for prediction in found:
            lines += self._wrapped(self._lead(prediction), [self._cell(each) for each in prediction.classes])
        return "".join(f"{line}\n" for line in lines)

    def _lead(self, prediction: Prediction) -> str:
        """What stands before the classes."""
        if not self._headings:
            return _padded(prediction.image, self._images) + _GAP
        lead = _INDENT
        if self._several:
            lead += _padded(prediction.side_network, self._names) + _GAP
        if self._with_column:
            lead += _padded(prediction.column, self._columns) + _GAP
        return lead

    def _cell(self, likely: LikelyClass) -> str:
        return f"{_padded(likely.name, self._classes)} {100 * likely.probability:5.1f} %"

    def _wrapped(self, lead: str, cells: Sequence[str]) -> Iterator[str]:
        """The classes behind the lead; those that the line has no room for stand below the first."""
        line, margin = lead + cells[0], " " * cell_len(lead)
        for cell in cells[1:]:
            if self._width is not None and cell_len(line + _GAP + cell) > self._width:
                yield line
                line = margin + cell
            else:
                line += _GAP + cell
        yield line


def _widest(texts: Iterator[str] | Sequence[str]) -> int:
    return max((cell_len(in_one_line(text)) for text in texts), default=0)


def _padded(text: str, width: int) -> str:
    shown = in_one_line(text)
    return shown + " " * (width - cell_len(shown))
