import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from losa.cache_format import Cache, CacheError, LabelledSplit

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def split(recipe, finished, tiny):
    """Two sites of the training split, one image of which is invalid and another without a species."""
    assert (recipe.labels(tiny.TRAIN)["species"] == -1).any()
    return Cache(finished(replace(recipe, invalid=frozenset({tiny.TRAIN[2]})))).split("train", 2)


def test_images_that_are_valid_and_labelled(split):
    data = LabelledSplit(split, "species")
    labels = split.labels("species")
    assert data.positions.tolist() == [place for place in range(7) if place != 2 and labels[place] >= 0]
    assert 0 < len(data) < 7
    for place, (activations, label) in zip(data.positions, data, strict=True):
        np.testing.assert_array_equal(activations, split[place])
        assert label == labels[place]


def test_a_loader_reads_each_batch_at_once(split, monkeypatch):
    data = LabelledSplit(split, "species")
    monkeypatch.delattr(LabelledSplit, "__getitem__")
    order = [3, 0, 2]
    batches = list(DataLoader(data, batch_size=2, sampler=order))
    assert [len(labels) for _, labels in batches] == [2, 1]
    activations, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert (activations.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert labels.tolist() == data.labels[order].tolist()
    np.testing.assert_array_equal(activations.numpy(), split[data.positions[order]])


def test_workers_get_a_copy(split):
    data = LabelledSplit(split, "species")
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[1][0], data[1][0])
    assert copy[1][1] == data[1][1]


def test_a_column_that_is_not_there(split):
    with pytest.raises(CacheError, match="no label column 'size'; it has: species, colour"):
        LabelledSplit(split, "size")
