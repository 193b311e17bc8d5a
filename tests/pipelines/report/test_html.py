import json
import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.pipelines.report.html import render
from losa.pipelines.report.inputs import Member, read_members
from losa.pipelines.report.report import Report, make_report
from losa.pipelines.report.tables import ReportTable, TableCell
from losa.pipelines.report.thumbnails import Thumbnails

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"


class Tags(HTMLParser):
    """Counts tags, and keeps attributes and the texts of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.fixture
def make_page(tmp_path: Path, make_sweep: Any, make_member: Any) -> Any:
    """``make_page(text)``: a page in which everything that comes from data or options is this text."""

    def make(text: str) -> Tags:
        name = text.replace("/", "\N{FRACTION SLASH}")
        configs = [AdaptConfig(cache=f"{tmp_path}/{name}", label=text, seed=seed) for seed in (0, 1)]
        folder = make_sweep(tmp_path / f"runs {name}", configs, [0.5, 0.25])
        for path in folder.glob("*/confusion.json"):
            content = {
                "classes": {text: [text, f"{text}2"]},
                "splits": {"test": {text: [[0, 0, 3], [1, 0, 1]]}},
            }
            path.write_text(json.dumps(content))
        members = read_members([str(folder)])
        others = [
            make_member(0.5, kind=text, task=text, split=text, options={text: text}, seed=rank)
            for rank in (0, 1)
        ]
        others.append(make_member(0.1, kind=text, task=text, split=text, options={text: f"{text}2"}))
        others.append(make_member(None, kind=text, task=text, status="failed", reason=text))
        return Tags(render(report_of([*members, *others], title=text)))

    return make


def report_of(members: list[Member], title: str = "pets") -> Report:
    return make_report(title, members, hardest=4, device="cpu", thumbnails=Thumbnails([]))


def test_texts_from_data_are_nothing_but_texts(make_page: Any) -> None:
    plain, evil = make_page("plain"), make_page(EVIL)
    assert evil.tags == plain.tags
    assert [name for name, _ in evil.attributes] == [name for name, _ in plain.attributes]
    assert len(evil.scripts) == len(plain.scripts) > 2
    assert evil.text.count("onerror=alert(1)") > 8
    specs = [json.loads(script) for script in evil.scripts[:-1]]
    assert any(row["kind"] == EVIL for spec in specs for row in spec["datasets"]["data"] if "kind" in row)


def test_numbers_are_sorted_as_javascript_reads_them(make_member: Any) -> None:
    report = report_of([make_member()])
    cells = [TableCell("never", math.inf), TableCell("small", 1e-7), TableCell("none")]
    page = Tags(render(replace(report, members=ReportTable(titles=["a", "b", "c"], rows=[cells]))))
    assert [value for name, value in page.attributes if name == "data-order"][-2:] == ["Infinity", "1e-07"]


def test_nothing_is_loaded(make_page: Any) -> None:
    page = make_page("plain")
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    assert ("http-equiv", "Content-Security-Policy") in page.attributes
    assert any(
        value and value.startswith("default-src 'none'; img-src data:;") for _, value in page.attributes
    )


def test_the_program_of_the_page_ends_where_its_script_ends(make_page: Any) -> None:
    program = make_page("plain").scripts[-1]
    assert "vegaEmbed(" in program
    assert not re.search(r"</script|<!--", program)
    assert program.rstrip().endswith("sort(heading)));")
