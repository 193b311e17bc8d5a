import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losa.cache_format import LosaError, backbone_sites
from losa.cache_format.sites import block_site, stage_site
from losa.cache_format.sums import backbone_selection, stored_selection, sum_site, summed_sites

TWELVE = backbone_sites(12)
STAGES = tuple(map(stage_site, range(4)))
BLOCKS = TWELVE[1:]


@pytest.mark.parametrize(
    ("site", "terms", "name"),
    [
        ("sum:all", BLOCKS, "sum:all"),
        ("sum:12", BLOCKS, "sum:all"),
        ("sum:" + "+".join(reversed(BLOCKS)), BLOCKS, "sum:all"),
        ("sum:4", ("block.02", "block.05", "block.08", "block.11"), "sum:4"),
        ("sum:04", ("block.02", "block.05", "block.08", "block.11"), "sum:4"),
        ("sum:block.11+block.05", ("block.05", "block.11"), "sum:2"),
        ("sum:block.05+block.02", ("block.02", "block.05"), "sum:block.02+block.05"),
        ("sum:all+embed", TWELVE, "sum:embed+all"),
        ("sum:embed+2", ("embed", "block.05", "block.11"), "sum:embed+2"),
        ("sum:1+embed", ("embed", "block.11"), "sum:embed+block.11"),
        ("sum:1+block.02", ("block.02", "block.11"), "sum:block.02+block.11"),
    ],
)
def test_a_sum_has_one_name_and_adds_up_from_input_to_output(site, terms, name):
    assert summed_sites(site, TWELVE) == terms
    assert sum_site(terms, TWELVE) == name
    assert summed_sites(name, TWELVE) == terms
    assert backbone_selection(site, TWELVE) == (name,)
    for typed in (site, [site]):
        assert stored_selection(typed, (name, "block.11"), 12) == (name,)


@given(st.integers(2, 9))
@settings(deadline=None)
def test_different_sums_have_different_names(depth):
    backbone = backbone_sites(depth)
    several = [terms for count in (2, 3) for terms in itertools.combinations(backbone, count)]
    several += [backbone, backbone[1:]]
    assert len({sum_site(terms, backbone) for terms in several}) == len(set(several))


def test_stages_are_added_up_like_blocks():
    assert backbone_selection("sum:4", STAGES) == ("sum:all",)
    assert backbone_selection(["sum:stage.02+stage.00"], STAGES) == ("sum:stage.00+stage.02",)
    assert stored_selection("sum:stage.03+stage.01", ["sum:2"], 4) == ("sum:2",)


def test_sums_come_before_other_sites():
    selected = backbone_selection([1, "sum:all", "embed", "sum:4", "sum:12"], TWELVE)
    assert selected == ("sum:4", "sum:all", "embed", "block.11")


def test_other_sites_are_themselves():
    assert summed_sites("block.03", TWELVE) == ("block.03",)
    assert backbone_selection(["embed", 2], TWELVE) == ("embed", "block.05", "block.11")
    assert stored_selection([2], BLOCKS, 12) == ("block.05", "block.11")


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("sum:", r"^'sum:': sites: there is no site '' here; there are embed, block\.00"),
        ("sum:blocks", r"^'sum:blocks': sites: there is no site 'blocks' here; there are embed"),
        ("sum:block.02,block.05", r"there is no site 'block\.02,block\.05' here"),
        ("sum:sum:all", r"there is no site 'sum:all' here"),
        ("sum:-1", r"there is no site '-1' here"),
        ("sum:²", r"there is no site '²' here"),
        ("sum:13", r"^'sum:13': sites=13: expected a number from 1 to 12"),
        ("sum:0", r"^'sum:0': sites=0: expected a number from 1 to 12"),
        (
            "sum:all+block.05",
            r"^sites: 'sum:all\+block\.05' names block\.05 twice, but a sum adds a site once",
        ),
        ("sum:block.05+block.05", r"names block\.05 twice"),
        ("sum:1", r"^sites: 'sum:1' adds up block\.11 alone: select sites=\[block\.11\]$"),
        ("sum:embed", r"adds up embed alone"),
    ],
)
def test_wrong_sums_are_refused(site, message):
    for select in (lambda: backbone_selection([site], TWELVE), lambda: stored_selection(site, TWELVE, 12)):
        with pytest.raises(LosaError, match=message):
            select()


def test_a_sum_that_is_not_stored_is_refused_with_the_way_to_store_it():
    with pytest.raises(LosaError) as caught:
        stored_selection("sum:12", ["sum:4", block_site(11)], 12)
    assert str(caught.value) == (
        "sites: there is no site 'sum:all' here; there are sum:4, block.11. A sum is computed by "
        "losa-extract sites=[sum:all]"
    )


def test_a_backbone_selection_without_sums_refuses_what_any_selection_refuses():
    with pytest.raises(LosaError, match="nothing is selected"):
        backbone_selection([], TWELVE)
