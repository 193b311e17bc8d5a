"""Training from a float32 cache is training with the live backbone in the loop."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import (
    ActivationSource,
    AdaptConfig,
    CachedActivations,
    Job,
    LabelledActivations,
    Trainer,
)
from losa.adapt.data.reused_memory import ReusedMemory
from losa.adapt.members.passes import make_groups
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training.losses import make_objective
from losa.cache_format import Cache
from losa.extract import (
    BackboneConfig,
    DatasetConfig,
    ExtractConfig,
    FrozenBackbone,
    extract,
    load_backbone,
    open_source,
)
from losa.extract.grid_pooling import parse_grid
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform

DATASET = DatasetConfig(kind="digits", name="digits")
BACKBONE = BackboneConfig(name="test_vit", pretrained=False)
SPLIT = "train800"
IMAGES = 32
FEATURES: dict[str, dict[str, Any]] = {
    "all": {},
    "sum": {"sites": "sum:all"},
    "small": {"sites": ["sum:all", 1], "grid": "5x2"},
}
"""Options of the extractions, by name."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # On busy cores, threads that wait for each other make small products many times slower.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Computed:
    """A batch of activations that the backbone has just computed."""

    activations: torch.Tensor

    def __len__(self) -> int:
        return len(self.activations)

    def decode(self, images: slice | torch.Tensor, memory: ReusedMemory | None = None) -> torch.Tensor:
        return self.activations[images]

    def copy(self) -> "Computed":
        return Computed(self.activations.clone())

    def copy_from(self, other: "Computed") -> None:
        self.activations.copy_(other.activations)


class LiveActivations:
    """An `ActivationSource` that decodes, transforms and runs the backbone for every batch."""

    def __init__(self, backbone: FrozenBackbone, keys: list[str], sites: tuple[str, ...]) -> None:
        self.backbone, self.keys, self.sites = backbone, keys, sites
        self.loader = ImageLoader(open_source(DATASET), DEFAULT_DECODING)
        self.transform = make_transform(backbone.preprocessing)

    def read(self, indices: np.ndarray) -> Computed:
        images = [self.transform(self.loader.load(self.keys[index]).image) for index in indices]
        return Computed(self.backbone.activations(torch.stack(images), self.sites))


@pytest.fixture(scope="module")
def make_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def make(features: str, codec: str) -> Cache:
        folder = tmp_path_factory.mktemp("caches") / codec
        extract(
            ExtractConfig(
                dataset=DATASET,
                backbone=BACKBONE,
                cache=str(folder),
                splits=[SPLIT],
                limit=IMAGES,
                codec=codec,
                rows_per_shard=15,
                batch_size=9,
                device="cpu",
                workers=0,
                **FEATURES[features],
            )
        )
        return Cache(folder)

    return functools.cache(make)


def members(side: str, cache: Cache) -> list[PreparedJob]:
    """Two of one kind that differ in their seeds."""
    preparer = JobPreparer()
    found = []
    for seed in (1, 2):
        config = AdaptConfig(
            cache=str(cache.path),
            side=side,
            rank=8,
            epochs=3,
            batch_size=12,
            lr=3e-3,
            train_split=SPLIT,
            eval_split=SPLIT,
            seed=seed,
            device="cpu",
        )
        prepared = preparer.prepare(Job(config, cache.path / "unused"))
        assert isinstance(prepared, PreparedJob)
        found.append(prepared)
    return found


def losses(prepared: list[PreparedJob], source: ActivationSource) -> np.ndarray:
    """Of every step, one column for each member."""
    config, images = prepared[0].config, prepared[0].training
    data = LabelledActivations(
        source=source,
        images=images,
        sites=prepared[0].features.sites,
    )
    groups = make_groups(dict(enumerate(prepared)))
    objective = make_objective([10], images.labels, balanced=False, device="cpu")
    trainer = Trainer(groups, data, objective, config)
    epochs = [trainer.epoch(number) for number in range(config.epochs)]
    return np.concatenate(
        [np.stack([epoch[0].step_losses, epoch[1].step_losses], axis=1) for epoch in epochs]
    )


def from_cache(cache: Cache, side: str) -> np.ndarray:
    prepared = members(side, cache)
    return losses(prepared, CachedActivations(cache.split(SPLIT, prepared[0].features.sites), "cpu"))


@pytest.fixture(scope="module")
def with_live_backbone(make_cache: Any) -> Any:
    """``with_live_backbone(side, features)``: losses; the cache gives keys, labels and shapes only."""

    def run(side: str, features: str = "all") -> np.ndarray:
        grid = FEATURES[features].get("grid")
        backbone = load_backbone(BACKBONE, None if grid is None else parse_grid(grid))
        cache = make_cache(features, "float32")
        prepared = members(side, cache)
        keys = cache.split(SPLIT).keys
        return losses(prepared, LiveActivations(backbone, keys, prepared[0].features.sites))

    return functools.cache(run)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("side", SIDE_NETWORKS)
def test_losses_of_every_step(side: str, features: str, make_cache: Any, with_live_backbone: Any) -> None:
    found = from_cache(make_cache(features, "float32"), side)
    expected = with_live_backbone(side, features)
    assert found.shape == (3 * 3, 2)
    # The backbone sees other batches here than in extraction, so the last bits of features differ.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    # Training has gone somewhere: equal losses are not those of a network that stands still. An epoch has
    # three steps, and only whole epochs are of the same images.
    assert (expected[-3:].mean(axis=0) < expected[:3].mean(axis=0) - 1e-3).all()


def test_a_codec_that_loses_something_is_seen(make_cache: Any, with_live_backbone: Any) -> None:
    """It loses little; and if nothing were seen, the test above would prove nothing."""
    difference = np.abs(from_cache(make_cache("all", "int8"), "losa") - with_live_backbone("losa"))
    assert 1e-5 < difference.max() < 1e-2  # the README says so
