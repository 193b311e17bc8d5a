"""The methods of `losa-bench extract` that need timm and torch alone, as one would write them in a script."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import torch
from jaxtyping import Float, Float16
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.utils.data import DataLoader

from losa.extract import load_backbone
from losa.extract.precision import check_precision, precision
from losa.pipelines.bench.extraction.photographs import Photographs
from losa.pipelines.bench.extraction.setting import Setting, StartPass


class Timm:
    """A backbone, and photographs as timm's own transform prepares them."""

    def __init__(self, setting: Setting) -> None:
        """Load the backbone and move it to the device.

        Raises:
            LosaError: there is no such backbone, or the device does not have the dtype.
        """
        check_precision(setting.device, setting.dtype)
        self.setting = setting
        self.backbone = load_backbone(setting.backbone_config)
        self.model = cast(Any, self.backbone.model.to(setting.device))
        self.group = self.backbone.group(setting.sites)
        """Sites at which activations are read, and their shape."""

    def photographs(self, images: int) -> Photographs:
        """Images as network inputs."""
        transform = create_transform(**resolve_model_data_config(self.model), is_training=False)
        return Photographs(self.setting.files, images, cast(Any, transform))

    def loader(self, images: int) -> "DataLoader[Tensor]":
        """Images as network inputs, in batches."""
        return DataLoader(
            self.photographs(images),
            batch_size=self.setting.batch,
            num_workers=self.setting.workers,
            pin_memory=self.setting.device != "cpu",
        )

    def batch(self) -> Float[Tensor, "images channels height columns"]:
        """The first batch."""
        photographs = self.photographs(self.setting.batch)
        return torch.stack([photographs[index] for index in range(len(photographs))])

    def forward(self, batches: Iterable[Tensor]) -> None:
        """Run the bare model and keep nothing."""
        with torch.inference_mode(), precision(self.setting.device, self.setting.dtype):
            for images in batches:
                self.model.forward_features(images.to(self.setting.device, non_blocking=True))

    def features(self, images: int) -> Iterator[Float16[np.ndarray, "images sites tokens width"]]:
        """Activations at the sites, read by hooks, of images in batches."""
        device = self.setting.device
        for batch in self.loader(images):
            with precision(device, self.setting.dtype):
                found = self.backbone.activations(batch.to(device, non_blocking=True), self.group.sites)
            yield found.half().cpu().numpy()


def forward(setting: Setting) -> StartPass:
    """The limit: the bare model on one batch that is on the device already, over and over."""
    timm = Timm(setting)
    inputs = timm.batch().to(setting.device)

    def start(images: int, _: Path) -> Callable[[], object]:
        sizes = [min(setting.batch, images - first) for first in range(0, images, setting.batch)]
        return lambda: timm.forward(inputs[:size] for size in sizes)

    return start


def forward_and_decoding(setting: Setting) -> StartPass:
    """The limit with decoding: a DataLoader and the bare model; nothing is kept."""
    timm = Timm(setting)
    return lambda images, _: lambda: timm.forward(timm.loader(images))


def timm_and_npy(setting: Setting) -> StartPass:
    """A DataLoader, hooks, and ``np.save`` of every batch in float16."""
    timm = Timm(setting)

    def start(images: int, folder: Path) -> Callable[[], object]:
        def run() -> None:
            for number, features in enumerate(timm.features(images)):
                np.save(folder / f"{number:06d}.npy", features)

        return run

    return start


def timm_and_h5py(setting: Setting) -> StartPass:
    """A DataLoader, hooks, and one HDF5 data set in float16."""
    timm = Timm(setting)

    def start(images: int, folder: Path) -> Callable[[], object]:
        def run() -> None:
            group, first = timm.group, 0
            shape = (images, len(group.sites), group.tokens.count, group.width)
            with h5py.File(folder / "features.h5", "w") as file:
                dataset = file.create_dataset("features", shape, np.float16)
                for features in timm.features(images):
                    dataset[first : first + len(features)] = features
                    first += len(features)

        return run

    return start
