"""The files of `losa-report efficiency`."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from losa.cache_format.storage.atomic_writes import make_folder, publish
from losa.pipelines.csv_text import csv_text
from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.names import CSV_NAME, JSON_NAME, TABLE_NAME
from losa.pipelines.text_table import TextTable, markdown_of


def content_of(rows: Sequence[dict[str, Any]], comparison: EfficiencyComparison) -> dict[str, Any]:
    """Rows, options and machine as a value of JSON, where infinity is None: it has none."""
    finite = [{name: None if value == math.inf else value for name, value in row.items()} for row in rows]
    return {
        "rows": finite,
        "images": comparison.images,
        "settings": asdict(comparison),
        "machine": comparison.machine,
    }


def write_files(
    rows: Sequence[dict[str, Any]], tables: Sequence[TextTable], comparison: EfficiencyComparison
) -> None:
    """Write ``results.csv``, ``results.json`` and ``table.md`` into the folder ``out``, each whole.

    Args:
        rows: those of `efficiency_rows`.
        tables: what is said of them.
        comparison: the options.
    """
    folder = Path(comparison.out)
    text = csv_text(rows[0], [list(row.values()) for row in rows])
    make_folder(folder)
    publish(folder / CSV_NAME, text.encode())
    publish(folder / JSON_NAME, (json.dumps(content_of(rows, comparison), indent=2) + "\n").encode())
    publish(folder / TABLE_NAME, markdown_of(tables).encode())
