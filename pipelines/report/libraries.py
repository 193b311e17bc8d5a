"""The libraries that draw a page; they come with an extra."""

from importlib.util import find_spec

from losa.cache_format import LosaError

_LIBRARIES = ("altair", "jinja2", "vl_convert")


def refuse_missing_libraries() -> None:
    """Refuse to go on without them, before anything is read.

    Raises:
        LosaError: one is not installed.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise LosaError(f"losa-report needs {', '.join(missing)}: pip install 'losa[report]'")
