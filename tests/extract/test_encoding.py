import math
from typing import get_args

import numpy as np
import pytest
import torch

from losa.cache_format import NonFiniteActivations, calibrate, make_codec
from losa.cache_format.codecs import CodecName, code_layout, torch_codecs
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.extract.encoding import encode

SITES = ("embed", "block.03", "block.11")


@pytest.fixture(params=get_args(CodecName))
def codec(request):
    return request.param


@pytest.fixture
def activations():
    """Six images; the sites differ in scale, and one channel is wide."""
    values = np.random.default_rng(0).normal(2, size=(6, 3, 5, 8)).astype(np.float32)
    values *= np.array([0.1, 1, 30], np.float32)[:, None, None]
    values[..., 3] *= 50
    return values


def test_codes_equal_the_numpy_reference(codec, activations):
    calibration = calibrate(activations)
    codes, _ = encode(DeviceCodec(codec, calibration), torch.from_numpy(activations), SITES)
    expected = make_codec(codec, calibration).encode(activations)
    for found, reference in ((codes.values, expected.values), (codes.scales, expected.scales)):
        np.testing.assert_array_equal(found, reference, strict=True)


def test_statistics_equal_numpys(codec, activations):
    calibration = calibrate(activations)
    codes, statistics = encode(DeviceCodec(codec, calibration), torch.from_numpy(activations), SITES)
    wide = activations.astype(np.float64)
    error = make_codec(codec, calibration).decode(codes) - wide
    assert len(statistics) == len(SITES)
    for index, measured in enumerate(statistics):
        site = wide[:, index]
        assert measured.count == site.size
        assert measured.minimum == site.min()
        assert measured.maximum == site.max()
        assert measured.sum_squares == pytest.approx((site**2).sum(), rel=1e-6)
        assert measured.rms == pytest.approx(np.sqrt((site**2).mean()), rel=1e-6)
        lost = (error[:, index] ** 2).sum()
        assert measured.error_sum_squares == pytest.approx(lost, rel=1e-3)
        if codec == "float32":
            assert measured.snr_db == math.inf
        else:
            assert measured.snr_db == pytest.approx(10 * np.log10((site**2).sum() / lost), abs=0.01)
            assert measured.snr_db > {"int4": 15, "int8": 35, "bfloat16": 50, "float16": 65}[codec]


def test_activations_in_half_precision_are_widened_first(codec, activations):
    half = torch.from_numpy(activations).bfloat16()
    device_codec = DeviceCodec(codec, calibrate(activations))
    from_half, from_wide = (encode(device_codec, values, SITES) for values in (half, half.float()))
    assert np.array_equal(from_half[0].values, from_wide[0].values)
    assert from_half[1] == from_wide[1]


@pytest.mark.parametrize("part_bytes", [1, 2 * 3 * 5 * 8 * 4, 2**30])
def test_the_size_of_parts_changes_nothing(codec, activations, monkeypatch, part_bytes):
    device_codec = DeviceCodec(codec, calibrate(activations))
    values = torch.from_numpy(activations)
    codes, statistics = encode(device_codec, values, SITES)
    parts = []
    in_parts = DeviceCodec.encode
    monkeypatch.setattr(
        DeviceCodec, "encode", lambda codec, part: parts.append(len(part)) or in_parts(codec, part)
    )
    monkeypatch.setattr(torch_codecs, "TILE_BYTES", part_bytes)
    found = encode(device_codec, values, SITES)
    assert parts == {1: [1] * 6, 2**30: [6]}.get(part_bytes, [2] * 3)
    np.testing.assert_array_equal(found[0].values, codes.values)
    np.testing.assert_array_equal(found[0].scales, codes.scales)
    assert found[1] == statistics


def test_a_batch_without_images_has_no_statistics(codec, activations):
    calibration = calibrate(activations)
    codes, statistics = encode(DeviceCodec(codec, calibration), torch.empty(0, 3, 5, 8), SITES)
    layout = code_layout(codec, 8)
    assert codes.values.shape == (0, 3, 5, layout.width)
    assert codes.values.dtype == layout.dtype
    assert (codes.scales is None) == (layout.scale_dtype is None)
    assert statistics == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_the_backbone_spoilt_is_named_with_its_site(codec, activations, value):
    calibration = calibrate(activations)
    activations[2, 1, 0, :2] = value
    with pytest.raises(NonFiniteActivations) as caught:
        encode(DeviceCodec(codec, calibration), torch.from_numpy(activations), SITES)
    assert str(caught.value) == (
        "the backbone produced 2 NaN or infinite values at site 'block.03': compute in a wider dtype "
        "(dtype=float32 or dtype=bfloat16), or check the weights"
    )


def test_float16_overflow_is_named_with_its_site_and_the_way_out(activations):
    activations[4, 2, 1, 7] = 70_000
    activations[5, 2, 1, 7] = -1e9
    with pytest.raises(NonFiniteActivations) as caught:
        encode(DeviceCodec("float16"), torch.from_numpy(activations), SITES)
    assert str(caught.value) == (
        "2 values at site 'block.11' are too large for codec=float16: use codec=bfloat16 or codec=int8"
    )


def test_int4_overflow_is_named_with_its_site_and_the_way_out(activations):
    """A scale beyond float16 costs its group, here the whole token."""
    calibration = calibrate(activations)
    activations[4, 2, 1, 7] = 1e9
    with pytest.raises(NonFiniteActivations) as caught:
        encode(DeviceCodec("int4", calibration), torch.from_numpy(activations), SITES)
    assert str(caught.value) == (
        "8 values at site 'block.11' are too large for codec=int4: use codec=bfloat16 or codec=int8"
    )


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8"])
def test_the_recommended_codecs_take_what_overflows_float16(name, activations):
    activations[4, 2, 1, 7] = 1e9
    values = torch.from_numpy(activations)
    codes, statistics = encode(DeviceCodec(name, calibrate(activations)), values, SITES)
    decoded = make_codec(name, calibrate(activations)).decode(codes)
    assert decoded[4, 2, 1, 7] == pytest.approx(1e9, rel=0.01)
    assert statistics[2].maximum == 1e9


def test_large_finite_activations_do_not_overflow_the_statistics():
    values = torch.full((1, 1, 2, 2), 3e30)
    _, (statistics,) = encode(DeviceCodec("float32"), values, ["block.00"])
    assert statistics.sum_squares == pytest.approx(3.6e61, rel=1e-6)


def test_a_site_of_zeros_is_no_error(codec):
    zeros = np.zeros((2, 3, 5, 8), np.float32)
    codes, statistics = encode(DeviceCodec(codec, calibrate(zeros)), torch.from_numpy(zeros), SITES)
    decoded = make_codec(codec, calibrate(zeros)).decode(codes)
    assert not decoded.any()
    assert {(entry.rms, entry.snr_db) for entry in statistics} == {(0.0, math.inf)}
