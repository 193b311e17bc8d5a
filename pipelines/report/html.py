"""The page as one file, with all its styles, programs and pictures inside."""

import functools
from importlib.resources import files

import altair
import vl_convert
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from losa.pipelines.report.report import Report


def render(report: Report) -> str:
    """The page. Texts of the report are escaped wherever they stand; nothing is loaded from elsewhere."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_file("page.html"))
    script = f"{_vega()}\n{_file('page.js')}"
    return template.render(report=report, style=Markup(_file("page.css")), script=Markup(script))


def _file(name: str) -> str:
    return files("losa.pipelines.report").joinpath("page", name).read_text(encoding="utf-8")


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed in the versions that the charts are made for."""
    version = altair.SCHEMA_VERSION.rpartition(".")[0]
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    # Inside of a script element, these would end it or change how its end is found.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
