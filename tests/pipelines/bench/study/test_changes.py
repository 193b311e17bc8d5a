"""The changed options exist, and what papers say of them is marked."""

import re
from dataclasses import replace

import pytest

from losa.adapt import AdaptConfig
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.pipelines.bench.study.changes import CHANGES

OPTIONS = [name for name in CHANGES if name != "codec"]


@pytest.mark.parametrize("option", OPTIONS)
def test_values_are_those_of_an_option(option: str) -> None:
    values = CHANGES[option].values
    configs = [replace(AdaptConfig(cache="cache"), **{option: value}) for value in values]
    assert len({config.member_id for config in configs}) > 1


@pytest.mark.parametrize("option", CHANGES)
def test_what_a_paper_says_has_a_mark(option: str) -> None:
    change = CHANGES[option]
    assert change.papers.keys() <= SIDE_NETWORKS.keys() - {"relay"}
    for said in change.papers.values():
        assert re.search(r"\[(S|D|\?)\]", said), said


def test_our_own_network_is_in_no_paper() -> None:
    assert CHANGES["rank"].said("relay") == "in no paper"
    assert CHANGES["rank"].said("lst") == "[?]"
    assert CHANGES["views"].said("relay") == CHANGES["views"].said("losa")
