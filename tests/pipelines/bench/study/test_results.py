"""Where results are written, and what is said of failures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.study.results import refuse_failures, results_folder, write_results
from losa.pipelines.text_table import TextTable


def test_validated_results_have_a_folder_of_their_own(settings: Any) -> None:
    study = settings()
    assert results_folder(study, "accuracy") == Path(study.out) / "accuracy"
    validated = settings(validate=True)
    assert results_folder(validated, "accuracy") == Path(validated.out) / "accuracy-validate"


def test_tables_are_written_one_below_the_other(row: Any, tmp_path: Path) -> None:
    table = TextTable(titles=["a"], labels=1, lines=[["1"]])
    write_results(tmp_path, [row(0.5)], "protocol", [table, table])
    assert (tmp_path / "table.md").read_text() == "| a |\n| --- |\n| 1 |\n\n| a |\n| --- |\n| 1 |\n"
    assert (tmp_path / "results.csv").exists()


def test_failures_are_counted(row: Any) -> None:
    refuse_failures(Path("out"), [row(0.5)])
    silent = replace(row(None), outcome=AssertionError())
    with pytest.raises(LosaError, match=r"1 of 1 members failed, .*: AssertionError"):
        refuse_failures(Path("out"), [silent])
    with pytest.raises(LosaError, match=r"1 of 2 members failed, .*\(dusk, losa, fixed\): it diverged"):
        refuse_failures(Path("out"), [row(0.5), row(None)])
