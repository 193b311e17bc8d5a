import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losa.cache_format import LosaError, backbone_sites, select_sites
from losa.cache_format.sites import EMBED, block_site, evenly_spaced, in_order, stage_site

TWELVE = backbone_sites(12)


def test_names_of_a_backbone():
    assert TWELVE[0] == "embed"
    assert TWELVE[1] == "block.00"
    assert TWELVE[-1] == "block.11"
    assert len(TWELVE) == 13
    assert block_site(123) == "block.123"
    assert [stage_site(number) for number in (0, 12)] == ["stage.00", "stage.12"]


@pytest.mark.parametrize(
    ("count", "blocks"),
    [
        (1, (11,)),
        (2, (5, 11)),
        (3, (3, 7, 11)),
        (4, (2, 5, 8, 11)),
        (5, (2, 4, 7, 9, 11)),
        (12, tuple(range(12))),
    ],
)
def test_evenly_spaced_blocks_of_twelve(count, blocks):
    assert evenly_spaced(count, 12) == blocks
    assert select_sites(count, TWELVE) == tuple(map(block_site, blocks))


@given(st.integers(1, 300).flatmap(lambda depth: st.tuples(st.integers(1, depth), st.just(depth))))
@settings(deadline=None)
def test_evenly_spaced_keeps_the_last_block_and_equal_distances(drawn):
    count, depth = drawn
    blocks = evenly_spaced(count, depth)
    assert len(blocks) == count
    assert blocks[-1] == depth - 1
    distances = {after - before for before, after in zip((-1, *blocks), blocks, strict=False)}
    assert max(distances) - min(distances) <= 1
    assert min(distances) >= 1


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("all", TWELVE[1:]),
        (["all", EMBED], TWELVE),
        ("block.07", ("block.07",)),
        (["block.11", "block.03", "block.11"], ("block.03", "block.11")),
        ([2, "block.06", EMBED], ("embed", "block.05", "block.06", "block.11")),
    ],
)
def test_selection_comes_in_the_order_of_the_backbone(selection, expected):
    assert select_sites(selection, TWELVE) == expected


def test_stages_are_selected_like_blocks():
    stages = tuple(map(stage_site, range(4)))
    assert select_sites("all", stages) == stages
    assert select_sites(2, stages) == ("stage.01", "stage.03")


def test_a_number_counts_the_blocks_that_are_stored():
    stored = ("embed", "block.02", "block.05", "block.08", "block.11")
    assert select_sites(2, stored) == ("block.05", "block.11")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("all", ("sum:all", "block.02", "block.05", "block.11")),
        (3, ("block.02", "block.05", "block.11")),
        (1, ("block.11",)),
        (["block.11", "sum:all"], ("sum:all", "block.11")),
    ],
)
def test_stored_sums_are_among_all_but_a_number_does_not_count_them(selection, expected):
    assert select_sites(selection, ("sum:all", "embed", "block.02", "block.05", "block.11")) == expected


def test_a_number_counts_sums_where_there_is_nothing_else():
    assert select_sites(1, ("sum:4", "sum:all", "embed")) == ("sum:all",)
    assert select_sites("all", ("sum:4", "sum:all", "embed")) == ("sum:4", "sum:all")
    with pytest.raises(LosaError, match="sites=3: expected a number from 1 to 2"):
        select_sites(3, ("sum:4", "sum:all", "embed"))


def test_sites_in_order_are_sums_and_then_from_input_to_output():
    expected = ("sum:4", "sum:all", "sum:embed+all", "embed", "block.11", "block.100")
    assert in_order(reversed(expected)) == expected


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (0, "sites=0: expected a number from 1 to 12, the number of blocks or stages"),
        (13, "sites=13: expected a number from 1 to 12, the number of blocks or stages"),
        (-1, "sites=-1: expected a number from 1 to 12, the number of blocks or stages"),
        ([True], "sites: expected a number, 'all' or a list of names, found True"),
        (False, "sites: expected a number, 'all' or a list of names, found False"),
        ([], f"sites: nothing is selected; there are {', '.join(TWELVE)}"),
        ("block.12", f"sites: there is no site 'block.12' here; there are {', '.join(TWELVE)}"),
        (["block.01", "norm"], f"sites: there is no site 'norm' here; there are {', '.join(TWELVE)}"),
    ],
)
def test_wrong_selections_are_refused(selection, message):
    with pytest.raises(LosaError) as caught:
        select_sites(selection, TWELVE)
    assert str(caught.value) == message


def test_all_of_nothing_but_the_embedding_is_refused():
    with pytest.raises(LosaError, match="nothing is selected; there are embed"):
        select_sites("all", [EMBED])
