"""What a process of `losa-bench extract` measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from losa.cache_format.codecs import CodecName
from losa.cache_format.identity import ComputeDtype
from losa.extract import BackboneConfig

Method = Literal[
    "forward",
    "losa",
    "forward+decoding",
    "losa+decoding",
    "timm+npy",
    "timm+h5py",
    "thingsvision",
    "kaiko-eva",
]

StartPass: TypeAlias = Callable[[int, Path], Callable[[], object]]
"""Prepares a pass from a number of images and an empty folder to write to. Only the pass is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A method, the backbone and the images."""

    method: Method
    files: Sequence[str]
    """Photographs, which are repeated until there are as many images as wanted."""
    folder: str
    """Where the method may keep what it prepares before its first pass."""
    backbone: str
    checkpoint: str | None
    """File of the weights; None: random weights, which take the same time."""
    batch: int
    sites: int
    codec: CodecName
    """Codec of losa's caches."""
    dtype: ComputeDtype
    device: str
    threads: int | None
    """Threads of torch; None for its own choice."""
    workers: int
    """Decoding processes; 0: the process of the method decodes."""

    @property
    def backbone_config(self) -> BackboneConfig:
        """The backbone as losa loads it."""
        return BackboneConfig(name=self.backbone, checkpoint=self.checkpoint, pretrained=False)
