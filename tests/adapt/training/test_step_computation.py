"""A step copies nothing to the device and reads nothing from it; torch's device ``meta`` stands for a GPU."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from losa.adapt import MemberGroup, make_group
from losa.adapt.data.activations import CodedBatch
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training.epoch_inputs import EpochInputs
from losa.adapt.training.losses import make_objective
from losa.adapt.training.scores import ScoreKeeper
from losa.adapt.training.step_computation import MicroBatchMemory, StepComputation
from losa.cache_format.codecs import Calibration
from losa.cache_format.codecs.torch_codecs import DeviceCodec, DeviceCodes

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

BATCHES = [np.arange(start, min(start + 8, 30)) for start in range(0, 30, 8)]
CLASSES = (3, 4)

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select")
"""Operators that wait for a GPU because this machine needs a value or a size."""
MAKERS = ("tensor", "as_tensor", "from_numpy")
"""Functions of torch that copy numbers of this machine, which no dispatch mode sees."""


class Waits(TorchDispatchMode):
    """Lists the operators that would wait for a GPU: those that read from it, and those of values here."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "Waits":
        for name in MAKERS:
            self._patch.setattr(torch, name, self._seen(getattr(torch, name)))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.undo()

    def _seen(self, make: Any) -> Any:
        def made(*args: Any, **kwargs: Any) -> Tensor:
            self.found.append(make.__name__)
            result: Tensor = make(*args, **kwargs)
            return result

        return made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
        name = func.overloadpacket.__name__
        if name.startswith(READS) or any(each.device.type == "cpu" and each.numel() for each in tensors):
            self.found.append(str(func))
        if name.startswith("index") and any(each.dtype == torch.bool for each in tensors):
            self.found.append(f"{func} with a mask")
        return result


@pytest.fixture
def steps(make_config: Any, make_features: Any) -> Any:
    """``steps(side, **options)``: a computation on ``meta`` of two members, and the inputs of an epoch."""

    def make(side: str, **options: Any) -> tuple[StepComputation, EpochInputs, CodedBatch]:
        config = make_config(**({"side": side, "rank": 4, "heads": 2, "label_smoothing": 0.1} | options))
        features = make_features()
        group: MemberGroup = make_group(
            range(2), [config, replace(config, seed=1)], features, sum(CLASSES), "meta"
        )
        labels = np.stack([np.arange(30) % 3, np.arange(30) % 5 - 1], axis=1)
        objective = make_objective(CLASSES, labels, balanced=True, device="meta")
        computation = StepComputation(
            groups=[group], objective=objective, dtype=torch.float32, sites=features.sites
        )
        inputs = EpochInputs(
            [group], labels, BATCHES, config, first_step=0, all_steps=len(BATCHES), device="meta"
        )
        spread = np.ones((len(features.sites), features.width), np.float32)
        codec = DeviceCodec("int8", Calibration(0 * spread, spread), "meta")
        shape = (8, len(features.sites), features.tokens.count, features.width)
        codes = codec.encode(torch.empty(shape, device="meta"))
        return computation, inputs, CodedBatch(codes, codec)

    return make


@pytest.mark.parametrize(("dropout", "mixup", "optimizer"), [(0.0, 0.0, "sgd"), (0.3, 0.4, "adamw")])
@pytest.mark.parametrize("side", SIDE_NETWORKS)
def test_a_step_waits_for_nothing(
    side: str, dropout: float, mixup: float, optimizer: str, steps: Any
) -> None:
    computation, inputs, batch = steps(side, dropout=dropout, mixup=mixup, optimizer=optimizer, bias=True)
    waits = []
    for each in inputs:
        if len(each.labels) < len(batch):
            break
        with Waits() as found:
            computation.gradients(batch, each, 8, MicroBatchMemory())
            computation.update(each)
        waits.append(found.found)
    # The first step meets the places of dropout, whose keys are copied on their own, once in a training.
    assert bool(waits[0]) == (dropout > 0 and side != "linear")
    assert waits[1:] == [[], []]


@pytest.mark.parametrize("norm", ["frozen", "layer", "none"])
def test_so_with_every_norm(norm: str, steps: Any) -> None:
    computation, inputs, batch = steps("relay", dropout=0.0, norm=norm)
    first = next(iter(inputs))
    with Waits() as found:
        computation.gradients(batch, first, 8, MicroBatchMemory())
    assert found.found == []


def test_scores_are_counted_without_waiting() -> None:
    keeper = ScoreKeeper(2, [7], "meta")
    with Waits() as found:
        keeper.add([torch.empty(2, 5, 7, device="meta")], torch.zeros(5, 1, dtype=torch.int64, device="meta"))
    assert found.found == []


def test_what_would_wait_is_found() -> None:
    there, here = torch.ones(3, device="meta"), torch.ones(3)
    with Waits() as found:
        here.to("meta")
        torch.tensor([1.0], device="meta")
        there.index_put_((torch.zeros(3, dtype=torch.bool, device="meta"),), there[0])
    assert len(found.found) == 3


def test_codes_stay_codes_until_they_are_decoded(steps: Any) -> None:
    _, _, batch = steps("linear")
    codes: DeviceCodes = batch.copy().codes
    assert codes.values.dtype == torch.int8
    assert codes.scales is not None
