"""Text of CSV files whose values are written as options are typed, with all digits."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from losa.pipelines.shown_options import shown


def csv_text(titles: Iterable[str], lines: Iterable[Sequence[Any]]) -> str:
    """The text of a CSV file: the titles, then the lines.

    >>> csv_text(["lr", "bias"], [[1 / 3, True], [None, "a,b"]]).splitlines()
    ['lr,bias', '0.3333333333333333,true', ',"a,b"']
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(titles)
    for line in lines:
        writer.writerow([shown(value, short=False) for value in line])
    return text.getvalue()
