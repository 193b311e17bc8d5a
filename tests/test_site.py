"""The documentation as a site: every link leads somewhere, and nothing is loaded from the network."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("extract", "adapt", "cache_format", "pipelines")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for plugin in ("mkdocstrings", "mkdocs_ipynb"):
        pytest.importorskip(plugin, reason="needs MkDocs: pip install 'losa[docs]'")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--quiet",
            "-f",
            str(ROOT / ".mkdocs.yml"),
            "-d",
            str(folder),
        ],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.long
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//[^"]*', text), page
        assert not re.findall(r'<link[^>]*\shref="(?:https?:)?//[^"]*', text), page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", text), sheet


@pytest.mark.long
@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name(site: Path, package: str) -> None:
    page = (site / f"reference/{package}.html").read_text(encoding="utf-8")
    public = import_module(f"losa.{package}").__all__
    assert [name for name in public if f'id="losa.{package}.{name}"' not in page] == []


@pytest.mark.long
def test_the_tutorial_has_its_pictures_and_links(site: Path) -> None:
    page = (site / "tutorial.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]* src="(_data/[^"]+)"', page)
    assert len(pictures) == 3
    assert all((site / picture).stat().st_size for picture in pictures)
    assert 'href="losa-tiny.html"' in page
