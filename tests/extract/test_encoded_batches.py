"""Batches through decoding, backbone and codec equal those that are made one after the other."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from losa.cache_format import NonFiniteActivations, Segment
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.extract import encoded_batches
from losa.extract.encoded_batches import EncodedBatches, ShardBatch, shard_batches
from losa.extract.encoding import encode
from losa.extract.extraction import Extractor
from losa.extract.stages import StageClock

BATCHES = [["digit/0", "digit/2"], ["digit/4"], [], ["digit/6", "digit/1"]]
SEGMENT = Segment(name="train", number=0, images=7, keys_sha256="0" * 64, rows_per_shard=3, labels_sha256={})


@pytest.fixture
def forward(config):
    return Extractor(config(codec="float16", batch_size=2)).forward


def _batches():
    return [ShardBatch(SEGMENT, 0, keys, keys) for keys in BATCHES]


@pytest.mark.parametrize("ahead", [0, 2, 9])
def test_they_come_in_order_however_many_are_queued(forward, monkeypatch, ahead):
    monkeypatch.setitem(encoded_batches._AHEAD, "cpu", ahead)
    codec, clock = DeviceCodec("float16"), StageClock()
    with EncodedBatches(forward, codec, _batches(), clock) as encoded:
        found = list(encoded)
    assert [batch.rows.keys for batch in found] == BATCHES
    with forward.decode(BATCHES) as decoded:
        for batch, alone in zip(found, decoded, strict=True):
            codes, statistics = encode(codec, forward.activations(alone), forward.sites)
            assert np.array_equal(batch.codes.values, codes.values)
            assert batch.statistics == statistics
            assert batch.outcomes == alone.outcomes
    assert clock.seconds["decoding"] > 0
    assert clock.seconds["backbone"] > 0


def test_the_time_of_who_takes_the_batches_is_not_counted(forward, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = StageClock()
    with EncodedBatches(forward, DeviceCodec("float16"), _batches(), clock) as encoded:
        next(encoded)
        now[0] = 100.0
        next(encoded)
    assert clock.total == 0.0


@pytest.mark.parametrize("ahead", [0, 2])
def test_values_that_are_not_finite_end_it_when_their_turn_comes(forward, monkeypatch, ahead):
    monkeypatch.setitem(encoded_batches._AHEAD, "cpu", ahead)
    weight = next(forward._backbone.model.parameters())
    with EncodedBatches(forward, DeviceCodec("float16"), _batches()[:2], StageClock()) as encoded:
        if not ahead:
            next(encoded)
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(NonFiniteActivations, match="the backbone produced"):
            list(encoded)


def test_freed_memory_is_kept_while_batches_come(forward, monkeypatch):
    events = []

    @contextmanager
    def kept(device):
        events.append(f"kept on {device}")
        yield
        events.append("given back")

    monkeypatch.setattr(encoded_batches, "freed_memory_kept", kept)
    with EncodedBatches(forward, DeviceCodec("float16"), _batches(), StageClock()) as encoded:
        events += [len(batch.rows.keys) for batch in encoded]
    assert events == ["kept on cpu", 2, 1, 0, 2, "given back"]


def test_the_rows_of_a_shard_in_batches():
    keys = list("abcdefg")
    found = list(shard_batches(SEGMENT, 1, keys, lambda key: key == "e", 2))
    assert found == [
        ShardBatch(SEGMENT, 1, ["d", "e"], ["d"]),
        ShardBatch(SEGMENT, 1, ["f"], ["f"]),
    ]
    assert [batch.keys for batch in shard_batches(SEGMENT, 2, keys, lambda _: False, 2)] == [["g"]]
