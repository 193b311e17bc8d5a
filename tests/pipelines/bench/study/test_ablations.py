"""What the command for ablations refuses."""

from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.study.ablations import AblationStudy


def test_an_unknown_option_is_refused(settings: Any) -> None:
    with pytest.raises(LosaError, match=r"--only ranks: expected one of rank, .*; did you mean 'rank'"):
        AblationStudy(settings=settings(), only=["ranks"])


def test_nothing_to_change_is_refused(settings: Any) -> None:
    study = AblationStudy(settings=settings(sides=["linear"]), only=["rank", "order"])
    with pytest.raises(LosaError, match=r"--only rank,order: no value .* --side linear"):
        study.run()
