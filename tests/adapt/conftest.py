"""Fixtures of the tests of adaptation: features, side networks, toy activations and a toy cache."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import (
    AdaptConfig,
    FeatureSpec,
    Job,
    LabelledActivations,
    LabelledImages,
    SideNetwork,
    adapt_all,
    make_side_network,
)
from losa.adapt.data.reused_memory import ReusedMemory
from losa.cache_format import (
    CacheRequest,
    CacheWriter,
    LabelColumn,
    SiteStatistics,
    SplitContents,
    make_codec,
)
from losa.cache_format.codecs import Calibration, CodecName, calibrate, needs_calibration
from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.identity import (
    BackboneIdentity,
    FeatureIdentity,
    FinalNorm,
    Preprocessing,
    SiteGroup,
    TokenLayout,
)
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT, calibration_constants
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.stores import StoreName
from losa.cache_format.views import View, parse_key
from losa.extract.views import with_views


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    # On busy cores, threads that wait for each other make tiny products a hundred times slower.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _two_micro_batches(sizes_are_not_measured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    size = "losa.adapt.training.trainer.choose_micro_batch_size"
    monkeypatch.setattr(size, lambda step, images, device: -(-images // 2))


@pytest.fixture
def make_config() -> Callable[..., AdaptConfig]:
    """``make_config(**options)``: on the CPU, without probe and dropout, almost without decay."""
    usual = {"cache": "unused", "device": "cpu", "probe_share": 0.0, "dropout": 0.0, "weight_decay": 1e-4}
    return lambda **options: AdaptConfig(**(usual | options))


@pytest.fixture
def make_features() -> Callable[..., FeatureSpec]:
    """``make_features(sites, width, norm, **layout)``: features with random constants of the final norm."""

    def make(
        sites: int = 3, width: int = 8, norm: FinalNorm | str | None = "default", **layout: Any
    ) -> FeatureSpec:
        rng = np.random.default_rng(0)
        final_norm = FinalNorm(kind="layer_norm", eps=1e-6) if norm == "default" else norm
        constants = {
            NORM_WEIGHT: rng.uniform(0.5, 2, width).astype(np.float32),
            NORM_BIAS: rng.normal(size=width).astype(np.float32),
        }
        return FeatureSpec(
            sites=tuple(f"block.{index:02d}" for index in range(sites)),
            tokens=TokenLayout(**({"cls": 1, "registers": 1, "grid": (2, 2)} | layout)),
            width=width,
            final_norm=final_norm,
            constants={} if final_norm is None else constants,
        )

    return make


@pytest.fixture
def make_network(make_config: Any, make_features: Any) -> Callable[..., SideNetwork]:
    """``make_network(side, seeds, features, **options)``: freshly initialised, in float64."""

    def make(
        side: str, seeds: Sequence[int] = (0,), features: FeatureSpec | None = None, **options: Any
    ) -> SideNetwork:
        config = make_config(side=side, **({"rank": 4, "heads": 2} | options))
        features = features or make_features()
        network = make_side_network(config.architecture_for(features.tokens), features, 3, seeds).double()
        network.config = config  # how the tests train it
        return network

    return make


@pytest.fixture
def randomise() -> Callable[[SideNetwork], SideNetwork]:
    """Gives every parameter random values that are not zero; a fresh network has zeros that hide mistakes."""

    def randomised(network: SideNetwork) -> SideNetwork:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.copy_(0.5 * noise + 0.1)
        return network

    return randomised


@pytest.fixture
def activations_of() -> Callable[..., torch.Tensor]:
    """``activations_of(features, images)``: random, (images, sites, tokens, width), float64."""

    def make(features: FeatureSpec, images: int = 5, seed: int = 0) -> torch.Tensor:
        shape = (images, len(features.sites), features.tokens.count, features.width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.2

    return make


@dataclass(frozen=True)
class InMemory:
    """An `ActivationSource`, and a batch of it, that holds its activations."""

    activations: torch.Tensor

    def __len__(self) -> int:
        return len(self.activations)

    def read(self, indices: np.ndarray) -> "InMemory":
        return InMemory(self.activations[torch.from_numpy(indices)])

    def decode(self, images: slice | torch.Tensor, memory: ReusedMemory | None = None) -> torch.Tensor:
        return self.activations[images]

    def copy(self) -> "InMemory":
        return InMemory(self.activations.clone())

    def copy_from(self, other: "InMemory") -> None:
        self.activations.copy_(other.activations)


def separable(labels: np.ndarray, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """float32 activations whose every token lies near a point that belongs to the image's label."""
    classes = np.random.default_rng(7).normal(size=(64, shape[-1]))
    noise = np.random.default_rng(seed).normal(scale=0.3, size=(len(labels), *shape))
    return (classes[labels][:, None, None] + noise).astype(np.float32)


@pytest.fixture
def toy_data() -> Callable[..., LabelledActivations]:
    """``toy_data(features, images)``: separable activations of three classes, in memory."""

    def make(features: FeatureSpec, images: int = 30, seed: int = 0) -> LabelledActivations:
        labels = np.arange(images) % 3
        shape = (len(features.sites), features.tokens.count, features.width)
        activations = torch.from_numpy(separable(labels, shape, seed))
        return LabelledActivations(
            source=InMemory(activations),
            images=LabelledImages(np.arange(images), labels[:, None]),
            sites=features.sites,
        )

    return make


@dataclass(frozen=True)
class ToyCache:
    """A cache of separable activations; ``dataclasses.replace`` makes another one."""

    splits: dict[str, int] = field(default_factory=lambda: {"train": 24, "val": 9, "test": 12})
    tokens: TokenLayout = field(default_factory=lambda: TokenLayout(cls=1, registers=1, grid=(2, 2)))
    sites: tuple[str, ...] = ("embed", "block.00", "block.01", "block.02")
    width: int = 8
    codec: CodecName = "float32"
    store: StoreName = "zarr"
    compressor: CompressorName | None = None
    invalid: frozenset[str] = frozenset()
    views: int = 1
    """Number of views of the images of `viewed`, in further splits if there are several."""
    viewed: tuple[str, ...] = ("train",)
    seed: int = 0

    columns = (
        LabelColumn(name="label", num_classes=3, classes=("ant", "bee", "cat")),
        LabelColumn(name="some", num_classes=3),
        LabelColumn(name="none", num_classes=3),
        LabelColumn(name="same", num_classes=3),
        LabelColumn(name="single", num_classes=1),
    )

    def contents(self, split: str) -> SplitContents:
        """``label`` runs through the classes, ``some`` misses every other one, ``none`` misses all."""
        images = self.splits[split]
        labels = np.arange(images) % 3
        return SplitContents(
            name=split,
            keys=[f"{split}/{number:03d}.png" for number in range(images)],
            labels={
                "label": labels,
                "some": np.where(np.arange(images) % 2, -1, labels),
                "none": np.full(images, -1),
                "same": np.ones(images, np.int64),
                "single": np.zeros(images, np.int64),
            },
        )

    def views_of(self, split: str) -> SplitContents:
        """A split's images and then their views."""
        contents = self.contents(split)
        views = [View(number, 0.5, flip=False) for number in range(1, self.views)]
        return with_views(contents, views)

    def activations(self, split: str) -> np.ndarray:
        """(images, sites, tokens, width)."""
        shape = (len(self.sites), self.tokens.count, self.width)
        seed = self.seed + 100 * list(self.splits).index(split)
        return separable(self.contents(split).labels["label"], shape, seed)

    @cached_property
    def by_key(self) -> dict[str, np.ndarray]:
        """Activations of every image. Those of a view are its photograph's, the channels moved on."""
        images = {
            key: image
            for split in self.splits
            for key, image in zip(self.contents(split).keys, self.activations(split), strict=True)
        }
        for key in [key for split in self.viewed for key in self.views_of(split).keys if self.views > 1]:
            photograph, view = parse_key(key)
            images[key] = np.roll(images[photograph], 0 if view is None else view.number, axis=-1)
        return images

    @property
    def calibration(self) -> Calibration | None:
        """Calibration from all images; None for a codec without one."""
        return calibrate(np.stack(list(self.by_key.values()))) if needs_calibration(self.codec) else None

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """The final norm, and the calibration if there is one."""
        return {
            NORM_WEIGHT: np.linspace(1, 2, self.width, dtype=np.float32),
            NORM_BIAS: np.linspace(-1, 0, self.width, dtype=np.float32),
            **calibration_constants(self.calibration),
        }

    @property
    def features(self) -> FeatureIdentity:
        """The feature identity. Another seed means other weights."""
        return FeatureIdentity(
            backbone=BackboneIdentity(name="vit_nano.toy", weights_sha256=f"{self.seed:064x}", depth=3),
            preprocessing=Preprocessing(
                input_size=(3, 32, 32),
                interpolation="bicubic",
                mean=(0.5,) * 3,
                std=(0.5,) * 3,
                crop_pct=1.0,
                crop_mode="center",
            ),
            site_groups=(SiteGroup(sites=self.sites, tokens=self.tokens, width=self.width),),
            compute_dtype="float32",
            codec=self.codec,
            final_norm=FinalNorm(kind="layer_norm", eps=1e-6),
            constants={name: hash_array(array) for name, array in self.constants.items()},
        )

    def source_hash(self, key: str) -> bytes:
        """The hash of the file of an image, which is another one for every image, and that of its views."""
        return hashlib.blake2b(parse_key(key)[0].encode(), digest_size=16).digest()

    def write(self, path: Path, shards: int | None = None) -> Path:
        """Write the first ``shards`` shards, or all."""
        codec = make_codec(self.codec, self.calibration)
        request = CacheRequest(
            dataset="toy",
            features=self.features,
            labels=self.columns,
            splits=[
                *(self.contents(name) for name in self.splits),
                *(self.views_of(name) for name in self.viewed if self.views > 1),
            ],
            rows_per_shard=5,
            provenance={},
            store=self.store,
            compressor=self.compressor,
        )
        with CacheWriter(path, request, self.constants) as writer:
            for segment, shard in writer.missing()[:shards]:
                rows = segment.rows(shard)
                keys = read_keys(writer.metadata, segment)[rows.start : rows.stop]
                readable = [self.by_key[key] for key in keys if key not in self.invalid]
                outcomes = ["broken" if key in self.invalid else self.source_hash(key) for key in keys]
                with writer.shard(segment, shard) as out:
                    out.append(codec.encode(np.stack(readable)), outcomes, self._statistics())
        return path

    def _statistics(self) -> list[SiteStatistics]:
        empty = SiteStatistics(count=0, minimum=0.0, maximum=0.0, sum_squares=0.0, error_sum_squares=0.0)
        return [empty] * len(self.sites)


@pytest.fixture(scope="session")
def written_toy_cache(toy_cache: ToyCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy cache, which no test may change."""
    return toy_cache.write(tmp_path_factory.mktemp("toy") / "cache")


@pytest.fixture
def toy_cache_folder(written_toy_cache: Path, tmp_path: Path) -> Path:
    """A toy cache of a test's own."""
    return Path(shutil.copytree(written_toy_cache, tmp_path / "cache"))


@pytest.fixture
def member(toy_cache_folder: Path, make_config: Any) -> Callable[..., AdaptConfig]:
    """``member(**options)``: a configuration that fits the toy cache, which is written."""

    def make(**options: Any) -> AdaptConfig:
        defaults = {
            "cache": str(toy_cache_folder),
            "train_split": "train",
            "eval_split": "test",
            "rank": 4,
            "heads": 2,
            "epochs": 3,
            "batch_size": 8,
            "lr": 0.02,
        }
        return make_config(**(defaults | options))

    return make


@pytest.fixture
def sweep(member: Any, tmp_path: Path) -> Callable[..., list[Any]]:
    """``sweep({option: value}, ...)``: the outcomes of members trained together, each in ``name/``."""

    def run(*options: dict[str, Any], folder: str | Path = "sweep") -> list[Any]:
        configs = [member(**each) for each in options]
        return adapt_all([Job(config, tmp_path / folder / config.member_name) for config in configs])

    return run


@pytest.fixture(scope="session")
def toy_cache() -> ToyCache:
    """Splits train, val and test of three classes; not yet written."""
    return ToyCache()
