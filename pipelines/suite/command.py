"""losa-vtab1k and losa-fgvc: the table of a benchmark."""

from losa.pipelines.entry import RESUME, enter


def vtab1k() -> None:
    """Entry point of losa-vtab1k."""
    enter("vtab1k", "losa.pipelines.suite.vtab1k", advice=RESUME, sweeps=False)


def fgvc() -> None:
    """Entry point of losa-fgvc."""
    enter("fgvc", "losa.pipelines.suite.fgvc", advice=RESUME, sweeps=False)
