"""Options of losa-adapt, as they are typed for a suite."""

import pytest

from losa.cache_format import LosaError
from losa.pipelines.suite.swept_options import SWEPT, gathered, grid


def test_options_of_losa_adapt_are_gathered_and_others_stay() -> None:
    of_the_suite = ["root=x", "backbone=vit_b16", "extract.codec=int4", "seeds=3"]
    assert gathered(["side=losa,last", *of_the_suite, "sweep.rank=4,8"]) == [
        *of_the_suite,
        '++sweep.side="losa,last"',
        '++sweep.rank="4,8"',
    ]


def test_what_both_stages_have_is_the_suites_own() -> None:
    assert {"device", "threads", "out"}.isdisjoint(SWEPT)
    assert gathered(["device=cpu", "threads=2"]) == ["device=cpu", "threads=2"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("rnk=4", "there is no option 'rnk'; did you mean 'rank'?"),
        ("roots=x", "did you mean 'root'?"),
        ("seed=1", "seed=...: not an option here: seeds=... says how many"),
        ("eval_split=test", "eval_split=...: not an option here: the protocol is fixed"),
        ("engine=ray", "engine=...: not an option here: losa-adapt has it"),
        ("engine.kind=ray", "engine.kind=...: not an option here: losa-adapt has it"),
        ("views=4", "the protocol has no augmentation"),
        ("-m", "-m, --multirun: leave it out"),
        ("~rank", "an option cannot be removed"),
        ("rank=[", "cannot be read"),
    ],
)
def test_the_wrong_thing_gets_a_clear_answer(typed: str, message: str) -> None:
    with pytest.raises(LosaError) as caught:
        gathered(["root=x", typed])
    assert message in str(caught.value)


def test_a_grid_of_all_combinations() -> None:
    points = grid(
        {"side": "losa,last", "rank": "range(4,9,4)", "sites": "4,[block.01,block.05]", "bias": True}
    )
    assert len(points) == 8
    assert points[1] == {"side": "losa", "rank": 4, "sites": ["block.01", "block.05"], "bias": True}


def test_a_value_alone_is_tried_alone() -> None:
    assert grid({"side": "losa", "val_split": "null", "lr": "1e-3", "sites": [4, 8]}) == [
        {"side": "losa", "val_split": None, "lr": 1e-3, "sites": [4, 8]}
    ]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"rnk": 4}, "there is no option 'rnk'"),
        ({"seed": 4}, "not an option here"),
        ({"lr": "interval(0,1)"}, "lr=interval(0,1): expected a value, or values with commas between them"),
        ({"lr": "1e-3,["}, "expected a value, or values with commas"),
        ({"root": "x"}, "sweep.root"),
    ],
)
def test_a_wrong_sweep_is_refused(sweep: dict[str, object], message: str) -> None:
    with pytest.raises(LosaError) as caught:
        grid(sweep)
    assert message in str(caught.value)
