"""From measurements to everything that is written of them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.files import write_files
from losa.pipelines.report.efficiency.measurements import Measurement
from losa.pipelines.report.efficiency.page import write_page
from losa.pipelines.report.efficiency.rows import efficiency_rows
from losa.pipelines.report.efficiency.tables import efficiency_tables


def write_results(
    measurements: Sequence[Measurement],
    comparison: EfficiencyComparison,
    accuracies: Mapping[str, float] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Write the files and the page; the arguments and the rows returned are those of `efficiency_rows`."""
    rows = efficiency_rows(measurements, comparison, accuracies)
    tables = efficiency_tables(rows, comparison)
    write_files(rows, tables, comparison)
    write_page(rows, tables, comparison)
    return rows
