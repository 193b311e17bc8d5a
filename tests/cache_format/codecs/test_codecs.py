"""Tests that every codec passes, in numpy and on a torch device, and comparisons of the two."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from losa.cache_format import Calibration, Codes, LosaError, calibrate, make_codec
from losa.cache_format.codecs import CodecName, CodeLayout, code_layout, needs_calibration
from losa.cache_format.codecs.calibration import SPREAD_FLOOR
from losa.cache_format.codecs.integer import INTEGER_FORMATS, pack, unpack
from losa.cache_format.codecs.torch_codecs import DeviceCodec

EPS = float(np.finfo(np.float32).eps)
WIDTHS = st.integers(1, 6) | st.sampled_from([31, 32, 33, 64, 67])
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), WIDTHS)
ACTIVATIONS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-3e4, 3e4, width=32))
HYPOTHESIS = settings(
    deadline=None,
    max_examples=40,
    # The fixtures below only name a codec and have no state that examples could share.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Numpy:
    """The numpy reference."""

    def __init__(self, name, calibration=None):
        self._codec = make_codec(name, calibration)

    def encode(self, activations: np.ndarray) -> Codes:
        return self._codec.encode(activations)

    def decode(self, codes: Codes) -> np.ndarray:
        return self._codec.decode(codes)


class Torch:
    """The torch codec with the interface of the reference."""

    device = "cpu"

    def __init__(self, name, calibration=None):
        self._codec = DeviceCodec(name, calibration, self.device)

    def encode(self, activations: np.ndarray) -> Codes:
        return self._codec.encode(torch.from_numpy(activations.copy(order="K")).to(self.device)).to_host()

    def decode(self, codes: Codes) -> np.ndarray:
        return self._codec.decode(self._codec.to_device(codes)).cpu().numpy()


class Cuda(Torch):
    """The torch codec on a GPU."""

    device = "cuda"


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ON_CUDA = pytest.param(Cuda, marks=[pytest.mark.gpu, needs_gpu], id="cuda")


@pytest.fixture(params=[pytest.param(Numpy, id="numpy"), pytest.param(Torch, id="torch"), ON_CUDA])
def implementation(request):
    return request.param


@pytest.fixture(params=INTEGER_FORMATS)
def integer(request):
    """Every integer codec."""
    return request.param


def calibration_for(name, activations: np.ndarray) -> Calibration | None:
    return calibrate(activations) if needs_calibration(name) else None


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def of_channels(name, scales: np.ndarray, width: int) -> np.ndarray:
    """The scale of every channel, repeated from its group."""
    return np.repeat(scales.astype(np.float64), INTEGER_FORMATS[name].group or width, axis=-1)[..., :width]


def largest_error(name, activations: np.ndarray, codes: Codes, calibration) -> np.ndarray | float:
    """Largest error of rounding, value by value."""
    magnitude = np.abs(activations)
    if name == "float16":
        return magnitude * 2.0**-11 + 2.0**-25
    if name == "bfloat16":
        return magnitude * 2.0**-8 + 2.0**-134
    if name in INTEGER_FORMATS:
        step = of_channels(name, codes.scales, activations.shape[-1]) * calibration.spread[:, None]
        # Half a step, plus the errors of float32 arithmetic.
        return 0.5001 * step + 4 * EPS * (magnitude + np.abs(calibration.centre[:, None])) + 1e-44
    return 0.0


@given(activations=ACTIVATIONS)
@HYPOTHESIS
def test_round_trip_costs_no_more_than_rounding(codec, implementation, activations):
    calibration = calibration_for(codec, activations)
    mine = implementation(codec, calibration)
    codes = mine.encode(activations)
    decoded = mine.decode(codes)
    assert decoded.dtype == np.float32
    assert decoded.shape == activations.shape
    error = np.abs(decoded.astype(np.float64) - activations)
    assert (error <= largest_error(codec, activations, codes, calibration)).all()


@given(activations=ACTIVATIONS)
@HYPOTHESIS
def test_device_and_reference_are_equal(codec, activations, tiny):
    calibration = calibration_for(codec, activations)
    reference, device = Numpy(codec, calibration), Torch(codec, calibration)
    codes = reference.encode(activations)
    tiny.assert_same_codes(device.encode(activations), codes)
    expected, found = reference.decode(codes), device.decode(codes)
    if codec not in INTEGER_FORMATS:
        assert found.tobytes() == expected.tobytes()
        return
    # Only one of the two may fuse multiplication and addition.
    rounding = 2 * EPS * (np.abs(expected - calibration.centre[:, None]) + np.abs(expected)) + 1e-44
    assert (np.abs(found.astype(np.float64) - expected) <= rounding).all()


@pytest.mark.parametrize("tile", [1, 10_000, 2**30], ids=["images", "tiles", "whole"])
def test_tiles_and_memory_that_was_used_before_change_no_bit(codec, tile, monkeypatch):
    monkeypatch.setattr("losa.cache_format.codecs.torch_codecs.TILE_BYTES", tile)
    activations = normal(26, 9, 3, 5, 67)
    calibration = calibration_for(codec, activations)
    device = DeviceCodec(codec, calibration)
    codes = device.to_device(Numpy(codec, calibration).encode(activations))
    out = torch.full(device.decoded_shape(codes), float("nan"))
    assert device.decode(codes, out) is out
    assert out.numpy().tobytes() == device.decode(codes).numpy().tobytes()
    # Nor does the reference round otherwise: it multiplies and adds in the same order.
    assert out.numpy().tobytes() == Numpy(codec, calibration).decode(codes.to_host()).tobytes()


@pytest.mark.parametrize("width", [1, 5, 31, 32, 33, 64, 70])
def test_codes_are_as_the_layout_tells(codec, implementation, width):
    activations = normal(0, 2, 3, 4, width)
    calibration = calibration_for(codec, activations)
    mine = implementation(codec, calibration)
    codes, layout = mine.encode(activations), code_layout(codec, width)
    assert codes.values.shape == (2, 3, 4, layout.width)
    assert codes.values.dtype == layout.dtype
    assert (codes.scales is not None) == (layout.scale_dtype is not None) == (layout.groups > 0)
    if codes.scales is not None:
        assert codes.scales.shape == (2, 3, 4, layout.groups)
        assert codes.scales.dtype == layout.scale_dtype
    error = np.abs(mine.decode(codes).astype(np.float64) - activations)
    assert (error <= largest_error(codec, activations, codes, calibration)).all()


def test_the_layouts_of_version_1():
    layouts = {codec: code_layout(codec, 70) for codec in get_args(CodecName)}
    assert layouts == {
        "float32": CodeLayout("float32", 70, None, 0),
        "float16": CodeLayout("float16", 70, None, 0),
        "bfloat16": CodeLayout("uint16", 70, None, 0),
        "int8": CodeLayout("int8", 70, "float32", 1),
        "int4": CodeLayout("uint8", 35, "float16", 3),
    }
    assert code_layout("int4", 33) == CodeLayout("uint8", 17, "float16", 2)
    assert code_layout("int4", 1) == CodeLayout("uint8", 1, "float16", 1)


@pytest.mark.parametrize("width", [32, 192, 200])
def test_noise_is_as_low_as_the_levels_allow(integer, implementation, width):
    activations = normal(20, 10, 1, 200, width)
    mine = implementation(integer, calibrate(activations))
    error = mine.decode(mine.encode(activations)).astype(np.float64) - activations
    snr = -10 * np.log10((error**2).mean())
    assert snr > {"int8": 43, "int4": 20}[integer], snr


@pytest.mark.parametrize("width", [5, 64])
def test_no_images_are_encoded_and_decoded(codec, implementation, width):
    mine = implementation(codec, calibration_for(codec, normal(0, 2, 3, 4, width)))
    empty = np.empty((0, 3, 4, width), np.float32)
    assert mine.decode(mine.encode(empty)).shape == empty.shape


def test_memory_order_does_not_matter(codec, implementation, tiny):
    activations = normal(25, 2, 3, 4, 38)
    calibration = calibration_for(codec, activations)
    mine = implementation(codec, calibration)
    turned = np.asfortranarray(activations)
    codes = mine.encode(activations)
    tiny.assert_same_codes(mine.encode(turned), codes)
    if codes.scales is not None:
        turned = Codes(np.asfortranarray(codes.values), np.asfortranarray(codes.scales))
        np.testing.assert_array_equal(mine.decode(turned), mine.decode(codes))


def test_a_token_is_encoded_alike_in_any_company(codec, implementation, tiny):
    activations = normal(1, 4, 2, 3, 40)
    mine = implementation(codec, calibration_for(codec, activations))
    together = mine.encode(activations)
    images = [mine.encode(activations[row : row + 1]) for row in range(4)]
    tokens = [mine.encode(activations[:, :, token : token + 1]) for token in range(3)]
    for parts, axis in ((images, 0), (tokens, 2)):
        scales = None if together.scales is None else np.concatenate([part.scales for part in parts], axis)
        values = np.concatenate([part.values for part in parts], axis)
        tiny.assert_same_codes(Codes(values, scales), together)


def test_a_subset_of_sites_is_decoded_as_in_the_whole(codec, implementation):
    activations = normal(2, 2, 4, 3, 40) * np.array([1, 10, 0.1, 5], np.float32)[:, None, None]
    calibration = calibration_for(codec, activations)
    whole = implementation(codec, calibration)
    codes = whole.encode(activations)
    some = [3, 1]
    part = implementation(codec, None if calibration is None else calibration.select(some))
    scales = None if codes.scales is None else codes.scales[:, some]
    decoded = part.decode(Codes(codes.values[:, some], scales))
    np.testing.assert_array_equal(decoded, whole.decode(codes)[:, some])


def test_cast_codes_are_encoded_to_themselves(implementation):
    for codec in ("float32", "float16", "bfloat16"):
        mine = implementation(codec)
        codes = mine.encode(normal(3, 2, 2, 2, 50))
        assert mine.encode(mine.decode(codes)).values.tobytes() == codes.values.tobytes()


def test_a_massive_channel_and_a_constant_channel_do_no_harm(codec, implementation):
    activations = normal(4, 16, 2, 5, 64) + 0.25
    activations[..., 7] *= 1000
    activations[..., 9] = 3.14159
    activations[:, 1, :, 11] = 0
    mine = implementation(codec, calibration_for(codec, activations))
    decoded = mine.decode(mine.encode(activations)).astype(np.float64)
    noise = ((decoded - activations) ** 2).mean(axis=(0, 2))
    signal = activations.astype(np.float64).var(axis=(0, 2))
    varying = np.ones((2, 64), bool)
    varying[:, 9] = varying[1, 11] = False
    worst = 10 * np.log10((signal[varying] / np.maximum(noise[varying], 1e-300)).min())
    assert worst > {"float32": 1000, "float16": 60, "bfloat16": 45, "int8": 40, "int4": 18}[codec]
    if codec in ("float32", *INTEGER_FORMATS):
        np.testing.assert_array_equal(decoded[..., 9], np.float32(3.14159))
    np.testing.assert_array_equal(decoded[:, 1, :, 11], 0)


def test_a_site_that_is_constant_throughout_comes_back_exactly(codec, implementation):
    activations = np.full((3, 2, 4, 5), -1.5, np.float32)
    mine = implementation(codec, calibration_for(codec, activations))
    codes = mine.encode(activations)
    np.testing.assert_array_equal(mine.decode(codes), activations)
    if codes.scales is not None:
        floor = INTEGER_FORMATS[codec].scale_floor
        np.testing.assert_array_equal(codes.scales, np.array(floor, codes.scales.dtype))


def test_a_token_of_zeros_among_others(codec, implementation):
    activations = normal(21, 4, 2, 5, 70)
    activations[1, :, 3] = 0
    calibration = calibration_for(codec, activations)
    mine = implementation(codec, calibration)
    codes = mine.encode(activations)
    zeros = np.abs(mine.decode(codes)[1, :, 3])
    if calibration is None:
        assert not zeros.any()
    else:
        assert (zeros <= largest_error(codec, activations, codes, calibration)[1, :, 3]).all()


def test_nothing_is_clipped_that_calibration_has_not_seen(integer, implementation):
    calibration = calibrate(normal(5, 8, 1, 4, 16))
    far = normal(6, 8, 1, 4, 16) * np.float32(1e4)
    mine = implementation(integer, calibration)
    codes, levels = mine.encode(far), INTEGER_FORMATS[integer].levels
    values = unpack(codes.values, 16) if integer == "int4" else codes.values
    assert np.abs(values.astype(int)).max(axis=-1).tolist() == [[[levels] * 4]] * 8
    error = np.abs(mine.decode(codes) - far) / calibration.spread
    assert (error <= np.abs(far / calibration.spread).max(axis=-1, keepdims=True) / levels * 0.51).all()


def test_int4_groups_do_not_disturb_one_another(implementation):
    activations = normal(22, 2, 1, 3, 70)
    calibration = calibrate(activations)
    mine = implementation("int4", calibration)
    before = mine.encode(activations)
    activations[..., 40] = 1e4
    after = mine.encode(activations)
    np.testing.assert_array_equal(before.scales != after.scales, [[[[False, True, False]] * 3]] * 2)
    np.testing.assert_array_equal(before.values[..., :16], after.values[..., :16])
    np.testing.assert_array_equal(before.values[..., 32:], after.values[..., 32:])


def test_two_codes_in_a_byte():
    codes = np.array([-7, 1, 0, 7, 5], np.int8).reshape(1, 1, 1, 5)
    packed = pack(codes)
    assert packed.tobytes().hex() == "91f88d"
    np.testing.assert_array_equal(unpack(packed, 5), codes)
    every = np.array([(low, high) for low in range(-7, 8) for high in range(-7, 8)], np.int8)
    every = every.reshape(1, 1, 1, -1)
    np.testing.assert_array_equal(unpack(pack(every), every.shape[-1]), every)


def test_infinity_sign_of_zero_and_nan_survive_the_casts(implementation):
    special = np.array([np.inf, -np.inf, 0.0, -0.0, np.nan], np.float32).reshape(1, 1, 1, 5)
    for codec in ("float32", "float16", "bfloat16"):
        mine = implementation(codec)
        decoded = mine.decode(mine.encode(special))[0, 0, 0]
        np.testing.assert_array_equal(decoded, special[0, 0, 0])
        np.testing.assert_array_equal(np.signbit(decoded[:4]), np.signbit(special[0, 0, 0, :4]))


def test_float16_overflows_to_infinity_and_the_wider_codecs_do_not(codec, implementation):
    large = normal(7, 2, 1, 3, 8)
    large[1, 0, 2, 5] = 1e5
    mine = implementation(codec, calibration_for(codec, large))
    decoded = mine.decode(mine.encode(large))
    assert np.isinf(decoded).sum() == (codec == "float16")
    assert not np.isnan(decoded).any()


def test_a_group_whose_scale_float16_cannot_hold_is_not_finite(implementation):
    """The reference and the device agree on these values, so that extraction can name the site."""
    large = normal(23, 2, 1, 3, 70)
    calibration = calibrate(large)
    large[1, 0, 2, 40] = 5e5 * calibration.spread[0, 40]
    mine = implementation("int4", calibration)
    lost = ~np.isfinite(mine.decode(mine.encode(large)))
    assert lost[1, 0, 2, 32:64].all()
    assert lost.sum() == 32
    large[1, 0, 2, 40] = 4.5e5 * calibration.spread[0, 40]
    assert np.isfinite(mine.decode(mine.encode(large))).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_does_not_become_so(codec, implementation, value):
    activations = normal(24, 2, 2, 3, 40)
    mine = implementation(codec, calibration_for(codec, activations))
    activations[1, 0, 2, 35] = value
    decoded = mine.decode(mine.encode(activations))
    assert not np.isfinite(decoded[1, 0, 2, 35])
    rest = np.ones(decoded.shape, bool)
    rest[1, 0, 2] = False
    assert np.isfinite(decoded[rest]).all()


def test_bfloat16_rounds_every_pattern_as_torch_does():
    bits = np.random.default_rng(8).integers(0, 2**32, 20_000, dtype=np.uint32)
    halfway = np.arange(2**16, dtype=np.uint32) << 16
    bits = np.concatenate([bits, halfway, halfway | 0x8000, halfway | 0x7FFF, halfway | 0x8001])
    values = bits.view(np.float32).reshape(1, 1, 1, -1)
    found = Numpy("bfloat16").decode(Numpy("bfloat16").encode(values))
    expected = torch.from_numpy(values.copy()).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))


def test_codes_go_to_the_device_and_back_unchanged(codec, tiny):
    activations = normal(9, 2, 3, 4, 35)
    calibration = calibration_for(codec, activations)
    codes = Numpy(codec, calibration).encode(activations)
    on_device = DeviceCodec(codec, calibration).to_device(codes)
    assert on_device.values.dtype == getattr(torch, {"int4": "uint8"}.get(codec, codec))
    tiny.assert_same_codes(on_device.to_host(), codes)


def test_a_codec_without_calibration_ignores_one(codec, implementation, tiny):
    activations = normal(10, 2, 1, 3, 4)
    calibration = calibrate(activations)
    alone = implementation(codec, calibration if needs_calibration(codec) else None)
    tiny.assert_same_codes(implementation(codec, calibration).encode(activations), alone.encode(activations))


def test_the_integer_codecs_need_a_calibration(integer):
    assert needs_calibration(integer)
    with pytest.raises(LosaError, match=f"^codec {integer} needs a calibration: calibrate makes one of"):
        make_codec(integer)


def test_an_unknown_codec_lists_those_there_are():
    with pytest.raises(LosaError) as caught:
        make_codec("int16")
    known = "float32, float16, bfloat16, int8, int4"
    assert str(caught.value) == f"there is no codec 'int16'; there are: {known}"


def test_a_calibration_read_from_a_cache_is_left_alone(integer, implementation):
    activations = normal(11, 2, 1, 3, 4)
    calibration = calibrate(activations)
    before = (calibration.centre.copy(), calibration.spread.copy())
    for array in (calibration.centre, calibration.spread):
        array.flags.writeable = False
    mine = implementation(integer, calibration)
    mine.decode(mine.encode(activations))
    np.testing.assert_array_equal((calibration.centre, calibration.spread), before)


def test_calibration_is_mean_and_standard_deviation_of_each_channel():
    activations = normal(12, 10, 2, 3, 6) * np.arange(1, 7, dtype=np.float32) + 5
    calibration = calibrate(activations)
    flat = activations.astype(np.float64).transpose(1, 3, 0, 2).reshape(2, 6, -1)
    np.testing.assert_allclose(calibration.centre, flat.mean(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(calibration.spread, flat.std(axis=-1), rtol=1e-6)
    assert (calibration.centre.dtype, calibration.spread.dtype) == (np.float32, np.float32)


def test_spread_has_a_floor():
    activations = normal(13, 10, 2, 3, 6)
    activations[..., 2] = 0
    activations[:, 1] = 0
    spread = calibrate(activations).spread
    varying = np.delete(spread[0], 2)
    assert spread[0, 2] == pytest.approx(np.median(varying) * SPREAD_FLOOR)
    assert (spread[1] == np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("constant", [5, 40, 63])
def test_the_floor_is_that_of_the_channels_that_vary(constant):
    """It depends neither on the number of constant channels nor on the width of one channel."""
    activations = normal(16, 40, 1, 5, 64)
    activations[..., :constant] = 3.14159
    activations[..., 63] *= 1000
    spread = calibrate(activations).spread[0]
    varying = spread[constant:]
    np.testing.assert_allclose(spread[:constant], np.float32(np.median(varying) * SPREAD_FLOOR), rtol=1e-5)
    if constant < 63:
        assert spread[0] < 0.02


def test_a_site_that_is_constant_but_for_rounding_has_one_spread():
    activations = np.random.default_rng(17).uniform(1, 100, (1, 1, 1, 64)).astype(np.float32)
    spread = calibrate(np.repeat(activations, 300, axis=0)).spread
    assert len(np.unique(spread)) == 1


@pytest.mark.parametrize("wide", [1, 1000])
@pytest.mark.parametrize("constant", [1, 20, 48])
def test_a_channel_that_was_constant_in_the_sample_may_move_later(integer, implementation, constant, wide):
    """This also holds beside a massive channel."""
    sample, later = normal(18, 32, 1, 10, 64), normal(19, 32, 1, 10, 64)
    moving = later[..., :constant] * np.float32(0.01)
    sample[..., :constant] = 0.5
    later[..., :constant] = 0.5 + moving
    for activations in (sample, later):
        activations[..., 63] *= wide
    mine = implementation(integer, calibrate(sample))
    error = mine.decode(mine.encode(later)).astype(np.float64) - later
    signal = later[..., constant:].astype(np.float64).var(axis=(0, 1, 2))
    snr = 10 * np.log10(signal / (error[..., constant:] ** 2).mean(axis=(0, 1, 2)))
    assert snr.min() > {"int8": 35, "int4": 15}[integer], snr.min()
    # The varying channel is not lost either: its error is half a level of the floor's scale.
    assert np.abs(error[..., :constant]).max() < {"int8": 1e-3, "int4": 5e-3}[integer]


def test_selected_sites_come_in_the_given_order():
    calibration = Calibration(normal(14, 3, 4), normal(15, 3, 4))
    np.testing.assert_array_equal(calibration.select([2, 0]).centre, calibration.centre[[2, 0]])
    np.testing.assert_array_equal(calibration.select([2, 0]).spread, calibration.spread[[2, 0]])
