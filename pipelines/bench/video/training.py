"""One measurement of training on clips, in a process of its own, whose peak memory includes no other.

``python -m losa.pipelines.bench.video.training '<setting as JSON>'`` prints a line of JSON: the result of
`measure`, or ``{"fits": false}`` without enough memory.
"""

import itertools
import json
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64

from losa.adapt import AdaptConfig, FeatureSpec, LabelledActivations, LabelledImages, Trainer, make_group
from losa.adapt.architecture import Mixing
from losa.adapt.data.activations import CodedBatch
from losa.adapt.training.losses import make_objective
from losa.cache_format import Calibration
from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.torch_codecs import DeviceCodec, DeviceCodes
from losa.cache_format.common.timing import timed_calls
from losa.cache_format.identity import TokenLayout
from losa.pipelines.bench.resident_memory import peak_resident_bytes
from losa.pipelines.bench.video.shapes import SHAPES

NUM_CLASSES = 400
"""Classes of Kinetics-400."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A side network, and the shape of the activations that it is trained on."""

    backbone: str = "vit-e"
    sites: int = 4
    grid: int = 16
    """Tokens along an edge of a frame."""
    frames: int = 32
    batch: int = 1
    """Clips of a step, all computed at once."""
    members: int = 1
    side: str = "losa"
    mixing: Mixing = "factorised"
    rank: int = 8
    codec: CodecName = "int8"
    dtype: Literal["float32", "bfloat16"] = "float32"
    steps: int = 2
    """Timed steps, after a first one."""
    seconds: float = 600.0
    """No step begins that should end later."""
    device: str = "cpu"
    threads: int | None = None

    @property
    def layout(self) -> TokenLayout:
        """Frames of a square grid, without a class token."""
        return TokenLayout(cls=0, registers=0, grid=(self.grid, self.grid), frames=self.frames)


@dataclass(frozen=True)
class _Clips:
    """A source of activations with one batch of noise, coded as in a cache."""

    batch: CodedBatch

    def read(self, indices: Int64[np.ndarray, "images"]) -> CodedBatch:
        """Return the batch; the order of noise does not matter."""
        assert len(indices) == len(self.batch), "epochs have one batch"
        return self.batch


def measure(setting: Setting) -> dict[str, Any]:
    """Train a side network for a few steps of forward, backward and AdamW, codes included.

    Returns:
        - ``seconds`` of each step after a first one;
        - ``peak_bytes``: the most bytes of the whole process, with Python and its libraries; on a GPU, the
          most that torch had allocated there. None if the system does not report it;
        - ``parameters`` of a member.
    """
    trainer, parameters = _trainer(setting)
    epochs = itertools.count()
    on_gpu = setting.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(setting.device)
    found = timed_calls(
        lambda: trainer.epoch(next(epochs)),
        most=1 + setting.steps,
        seconds=setting.seconds,
        device=setting.device,
    )
    peak = torch.cuda.max_memory_allocated(setting.device) if on_gpu else peak_resident_bytes()
    return {"seconds": found[1:] or found, "peak_bytes": peak, "parameters": parameters}


def _trainer(setting: Setting) -> tuple[Trainer, int]:
    shape = SHAPES[setting.backbone]
    layout = setting.layout
    sites = tuple(
        f"block.{-(-(site + 1) * shape.depth // setting.sites) - 1:02d}" for site in range(setting.sites)
    )
    batch = _noise(setting, shape.width)
    config = AdaptConfig(
        cache="noise",
        side=setting.side,
        rank=setting.rank,
        mixing=setting.mixing,
        probe_share=0.0,
        batch_size=setting.batch,
        epochs=1 + setting.steps,
        dtype=setting.dtype,
    )
    features = FeatureSpec(sites=sites, tokens=layout, width=shape.width)
    group = make_group(
        range(setting.members), [config] * setting.members, features, NUM_CLASSES, setting.device
    )
    labels = np.arange(setting.batch)[:, None] % NUM_CLASSES
    data = LabelledActivations(
        source=_Clips(batch), images=LabelledImages(np.arange(setting.batch), labels), sites=sites
    )
    objective = make_objective([NUM_CLASSES], labels, balanced=False, device=setting.device)
    trainer = Trainer([group], data, objective, config, micro_batch_size=setting.batch)
    return trainer, group.network.parameter_count()


def _noise(setting: Setting, width: int) -> CodedBatch:
    """A batch with the same codes at all sites, so that no more than one site is encoded to make it."""

    def codec(sites: int) -> DeviceCodec:
        ones = np.ones((sites, width), np.float32)
        return DeviceCodec(setting.codec, Calibration(0 * ones, ones), setting.device)

    activations = torch.randn(setting.batch, 1, setting.layout.count, width, device=setting.device)
    one = codec(1).encode(activations)
    scales = None if one.scales is None else one.scales.repeat(1, setting.sites, 1, 1)
    return CodedBatch(DeviceCodes(one.values.repeat(1, setting.sites, 1, 1), scales), codec(setting.sites))


def main() -> None:
    """Answer the request on the command line."""
    setting = Setting(**json.loads(sys.argv[1]))
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    try:
        print(json.dumps(measure(setting)))
    except (MemoryError, torch.OutOfMemoryError):
        print(json.dumps({"fits": False}))


if __name__ == "__main__":
    main()
