import pytest

from losa.cache_format import LosaError
from losa.pipelines.report import libraries
from losa.pipelines.report.libraries import refuse_missing_libraries


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_missing_libraries()
    monkeypatch.setattr(libraries, "_LIBRARIES", ("jinja2", "no_such_library"))
    with pytest.raises(LosaError, match=r"^losa-report needs no_such_library: pip install 'losa\[report\]'$"):
        refuse_missing_libraries()
