import pytest

from losa.cache_format.views import View, parse_key, views_split

VIEW = View(number=12, crop=0.25, flip=False)


@pytest.mark.parametrize(
    "photograph", ["a.jpg", "a/b c?d=e&f.png", "a?view=1", "ä\n/x", "b.jpg?view=1&crop=1&flip=0"]
)
def test_a_key_says_which_view_of_which_photograph_it_is(photograph: str) -> None:
    assert parse_key(VIEW.key(photograph)) == (photograph, VIEW)


@pytest.mark.parametrize("crop", [1.0, 0.08, 1 / 3, 1e-5])
def test_a_view_made_from_its_key_has_that_key(crop: float) -> None:
    key = View(number=1, crop=crop, flip=True).key("a.jpg")
    photograph, view = parse_key(key)
    assert view is not None
    assert view.key(photograph) == key


@pytest.mark.parametrize(
    "key",
    [
        "a.jpg",
        "a.jpg?view=0&crop=1&flip=1",
        "a?view=1",
        "?view=1&crop=1&flip=1",
        "a?view=1&crop=1.2.3&flip=1",
    ],
)
def test_other_keys_are_photographs(key: str) -> None:
    assert parse_key(key) == (key, None)


def test_splits_of_views_are_told_apart_by_their_number() -> None:
    assert len({views_split("train", views) for views in (1, 2, 12)} | {"train"}) == 4
