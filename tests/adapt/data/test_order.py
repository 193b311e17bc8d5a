import numpy as np
import pytest

from losa.adapt.data.order import draw_views, ordered_batches, shuffled_batches


def order(images: int = 103, batch_size: int = 10, data_seed: int = 0, epoch: int = 0) -> list[int]:
    return np.concatenate(shuffled_batches(images, batch_size, data_seed, epoch)).tolist()


@pytest.mark.parametrize(("images", "batch_size"), [(1, 1), (10, 3), (10, 10), (10, 50), (103, 10)])
def test_every_image_comes_once(images: int, batch_size: int) -> None:
    batches = shuffled_batches(images, batch_size, 0, 0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(images))
    assert len(batches) == -(-images // batch_size)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_epochs_and_data_seeds_differ() -> None:
    orders = [order(data_seed=seed, epoch=epoch) for seed in (-2, -1, 0, 1, 2**40) for epoch in range(4)]
    assert len({tuple(each) for each in orders}) == len(orders)


def test_an_epoch_is_a_function_of_seed_and_epoch_alone() -> None:
    expected = order(data_seed=3, epoch=5)
    np.random.default_rng(0).permutation(10)
    order(data_seed=3, epoch=4)
    order(data_seed=9, epoch=5)
    assert order(data_seed=3, epoch=5) == expected


def test_the_batch_size_only_cuts() -> None:
    assert order(batch_size=7) == order(batch_size=50)


def test_the_order_stays_the_same_in_later_versions() -> None:
    assert order(8, 8, data_seed=1, epoch=2) == [7, 0, 5, 4, 6, 2, 3, 1]


def test_ordered_batches_are_in_order() -> None:
    assert [batch.tolist() for batch in ordered_batches(5, 2)] == [[0, 1], [2, 3], [4]]


def test_views_are_drawn_evenly_and_differ_between_epochs() -> None:
    epochs = np.stack([draw_views(1000, 4, data_seed=0, epoch=epoch) for epoch in range(8)])
    assert np.unique(epochs).tolist() == [0, 1, 2, 3]
    assert (np.abs(np.apply_along_axis(np.bincount, 1, epochs) - 250) < 60).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 8


def test_views_are_a_function_of_seed_and_epoch_alone() -> None:
    expected = draw_views(50, 3, data_seed=3, epoch=5).tolist()
    order(data_seed=3, epoch=5)
    assert draw_views(50, 3, data_seed=3, epoch=5).tolist() == expected
    assert draw_views(50, 3, data_seed=4, epoch=5).tolist() != expected
