from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import CachedStream, score, stack_side_networks
from losa.cache_format import Cache, LosaError


def test_scores_of_a_split_are_those_of_its_activations(
    toy_cache: Any, make_trained: Any, tmp_path: Path
) -> None:
    cache = Cache(replace(toy_cache, invalid=frozenset({"test/002.png"})).write(tmp_path / "cache"))
    networks = stack_side_networks({"one": make_trained("last", sites=[0, 1]), "two": make_trained("losa")})
    batches = list(score(networks, CachedStream(cache, "test", networks, batch_size=4)))
    keys = [key for batch in batches for key in batch.keys]
    assert keys == [key for key in cache.keys("test") if key != "test/002.png"]
    activations = torch.from_numpy(cache.split("test", networks.sites)[np.delete(np.arange(12), 2)])
    for number, expected in enumerate(networks(activations)):
        found = torch.cat([batch.scores[number] for batch in batches])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert not found.requires_grad


def test_some_images_of_a_split(toy_cache: Any, make_trained: Any, tmp_path: Path) -> None:
    cache = Cache(toy_cache.write(tmp_path / "cache"))
    networks = stack_side_networks({"one": make_trained()})
    stream = CachedStream(cache, "test", networks, batch_size=2, positions=np.array([1, 5, 11]))
    assert [list(batch.keys) for batch in stream] == [["test/001.png", "test/005.png"], ["test/011.png"]]
    assert len(stream) == 3


@pytest.mark.parametrize("codec", ["int8", "float16"])
def test_another_codec_is_accepted(codec: str, toy_cache: Any, make_trained: Any, tmp_path: Path) -> None:
    cache = Cache(replace(toy_cache, codec=codec).write(tmp_path / "cache"))
    networks = stack_side_networks({"one": make_trained()})
    assert sum(len(batch.keys) for batch in score(networks, CachedStream(cache, "test", networks))) == 12


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, r"backbone\.weights_sha256: expected 0+, found 0+1"),
        (
            {"sites": ("embed", "block.00")},
            r"read block\.01, block\.02, which it lacks; it has embed, block\.00",
        ),
    ],
)
def test_another_backbone_and_missing_sites_are_refused(
    change: dict[str, Any], told: str, toy_cache: Any, make_trained: Any, tmp_path: Path
) -> None:
    networks = stack_side_networks({"one": make_trained()})
    cache = Cache(replace(toy_cache, **change).write(tmp_path / "cache"))
    with pytest.raises(LosaError, match=told):
        CachedStream(cache, "test", networks)


def test_other_tokens_are_refused(toy_cache: Any, make_trained: Any, tmp_path: Path) -> None:
    """Of the same number, too: the means over patches are no patches."""
    networks = stack_side_networks({"one": make_trained()})
    pooled = replace(toy_cache.tokens, pooled_from=(4, 4))
    cache = Cache(replace(toy_cache, tokens=pooled).write(tmp_path / "cache"))
    with pytest.raises(LosaError, match=r"tokens\.pooled_from: expected None, found \(4, 4\)"):
        CachedStream(cache, "test", networks)


def test_other_inputs_are_refused(toy_cache: Any, make_trained: Any, tmp_path: Path) -> None:
    squashed = replace(toy_cache.features.preprocessing, crop_mode="squash")
    networks = stack_side_networks({"one": make_trained(changes={"preprocessing": squashed})})
    with pytest.raises(LosaError, match=r"preprocessing\.crop_mode: expected squash, found center"):
        CachedStream(Cache(toy_cache.write(tmp_path / "cache")), "test", networks)
