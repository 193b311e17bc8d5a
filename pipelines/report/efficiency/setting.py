"""One measurement, and everything that determines it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from losa.cache_format.codecs import CodecName
from losa.extract import BackboneConfig
from losa.pipelines.bench.matrix_rate import Dtype

Kind = Literal["extraction", "backbone", "cache", "live"]
"""What is measured: the extraction of the cache, the frozen backbone by itself, a side network that is
trained from the cache, or a method that trains through the live backbone."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a process measures."""

    kind: Kind
    method: str
    """Side network, method, or the kind itself."""
    checkpointing: bool = False
    """Whether activations of the live backbone are computed again in the backward pass, not kept."""
    data: str
    """Folder of the photographs and their lists."""
    train_split: str
    cache: str
    """Folder of the cache."""
    backbone: str
    checkpoint: str | None
    pretrained: bool
    sites: int | str
    """Those of the cache, which every side network reads as far as it can."""
    codec: CodecName
    rank: int
    targets: Sequence[str]
    """Linear layers that LoRA changes."""
    batch: int
    micro_batch: int | None
    """Images that a training step computes at once; None: as losa-adapt chooses, the whole batch if live."""
    steps: int
    """Timed training steps, and timed batches of inference, after a first one of each."""
    seconds: float
    """Time limit of the steps, and of the batches: none begins that should end later, but for the first."""
    dtype: Dtype
    device: str
    threads: int | None
    """Threads of torch; None for its own choice."""

    @property
    def backbone_config(self) -> BackboneConfig:
        """The backbone, for losa.extract."""
        return BackboneConfig(name=self.backbone, checkpoint=self.checkpoint, pretrained=self.pretrained)
