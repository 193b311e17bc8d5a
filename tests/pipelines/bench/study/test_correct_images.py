"""What members recognise image by image, and the standard error of a difference."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from losa.pipelines.bench.study.accuracy import AccuracyStudy
from losa.pipelines.bench.study.correct_images import difference_of, with_correct_images
from losa.pipelines.bench.study.rows import StudyRow


@pytest.fixture
def seen(row: Any) -> Callable[[Any], list[StudyRow]]:
    """``seen(correct)``: a row for each seed ``(seeds, images)``."""
    return lambda correct: [replace(row(0.5), correct=np.asarray(each, float)) for each in correct]


@pytest.mark.usefixtures("sizes_are_not_measured")
def test_the_mean_over_images_is_the_accuracy(settings: Callable[..., Any]) -> None:
    study = AccuracyStudy(settings=settings(sides=["losa", "relay"]), fixed_only=True)
    rows = study.run()
    assert [row.side for row in rows] == ["linear"] * 2 + ["losa"] * 2 + ["relay"] * 2
    for row in rows:
        assert row.correct is not None
        assert row.correct.shape == (10,)
        assert row.correct.mean() == row.accuracy
    # Failed members have nothing to show, and the others are looked at without them.
    failed = replace(rows[0], outcome=ValueError("no luck"), correct=None)
    again = with_correct_images([failed, *rows[1:]])
    assert again[0].correct is None
    np.testing.assert_array_equal(again[-1].correct, rows[-1].correct)
    assert with_correct_images([failed]) == [failed]


def test_one_seed_has_the_error_of_paired_images(seen: Any) -> None:
    ours, theirs = np.random.default_rng(0).random((2, 1, 500)) < 0.8
    found = difference_of(seen(ours), seen(theirs))
    each = 100.0 * ours[0] - 100.0 * theirs[0]
    assert found.mean == pytest.approx(each.mean())
    assert found.error == pytest.approx(each.std(ddof=1) / 500**0.5)


@pytest.mark.parametrize(("of_images", "of_seeds"), [(0.3, 0.0), (0.0, 0.05), (0.2, 0.05)])
def test_the_error_is_that_of_other_images_and_other_seeds(
    seen: Any, of_images: float, of_seeds: float
) -> None:
    rng = np.random.default_rng(1)

    def draw() -> Any:
        noise = 0.1 * rng.standard_normal((5, 400))
        drawn = of_seeds * rng.standard_normal((5, 1)) + of_images * rng.standard_normal(400) + noise
        return difference_of(seen(drawn), seen(np.zeros((5, 400))))

    found = [draw() for _ in range(300)]
    spread = np.std([each.mean for each in found])
    assert np.sqrt(np.mean([each.error**2 for each in found])) == pytest.approx(spread, rel=0.15)


def test_images_without_a_label_do_not_count(seen: Any) -> None:
    ours, theirs = [[1, 1, np.nan, 0]], [[0, 1, np.nan, 0]]
    assert difference_of(seen(ours), seen(theirs)) == difference_of(seen([[1, 1, 0]]), seen([[0, 1, 0]]))


def test_there_is_no_difference_without_all_members_or_images(seen: Any) -> None:
    both = seen([[1, 0], [1, 1]])
    assert difference_of(both, seen([[1, 0], [0, 1]])) is not None
    assert difference_of([both[0], replace(both[1], correct=None)], both) is None
    assert difference_of(both, both[:1]) is None
    assert difference_of(seen([[1.0]]), seen([[0.0]])) is None
