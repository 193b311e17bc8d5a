"""One battery for every codec, in numpy and on a torch device, and the two held equal."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from losa.cache_format import Calibration, Codes, NonFiniteActivations, calibrate, make_codec
from losa.cache_format.codecs import (
    SCALE_FLOOR,
    SPREAD_FLOOR,
    has_scales,
    needs_calibration,
    refuse_non_finite,
    storage_dtype,
)
from losa.cache_format.device_codecs import DeviceCodec

EPS = float(np.finfo(np.float32).eps)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 6))
ACTIVATIONS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-3e4, 3e4, width=32))
HYPOTHESIS = settings(
    deadline=None,
    max_examples=40,
    # The fixtures below only name a codec; nothing of theirs carries over between examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Numpy:
    """The reference."""

    def __init__(self, name, calibration=None):
        self._codec = make_codec(name, calibration)

    def encode(self, activations: np.ndarray) -> Codes:
        return self._codec.encode(activations)

    def decode(self, codes: Codes) -> np.ndarray:
        return self._codec.decode(codes)


class Torch:
    """The device codec behind the reference's interface."""

    device = "cpu"

    def __init__(self, name, calibration=None):
        self._codec = DeviceCodec(name, calibration, self.device)

    def encode(self, activations: np.ndarray) -> Codes:
        return self._codec.encode(torch.from_numpy(activations.copy()).to(self.device)).to_host()

    def decode(self, codes: Codes) -> np.ndarray:
        return self._codec.decode(self._codec.to_device(codes)).cpu().numpy()


class Cuda(Torch):
    """The same on a GPU."""

    device = "cuda"


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ON_CUDA = pytest.param(Cuda, marks=[pytest.mark.gpu, needs_gpu], id="cuda")


@pytest.fixture(params=[pytest.param(Numpy, id="numpy"), pytest.param(Torch, id="torch"), ON_CUDA])
def implementation(request):
    return request.param


def calibration_for(name, activations: np.ndarray) -> Calibration | None:
    return calibrate(activations) if needs_calibration(name) else None


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def largest_error(name, activations: np.ndarray, codes: Codes, calibration) -> np.ndarray | float:
    """What rounding may cost, value by value."""
    magnitude = np.abs(activations)
    if name == "float16":
        return magnitude * 2.0**-11 + 2.0**-25
    if name == "bfloat16":
        return magnitude * 2.0**-8 + 2.0**-134
    if name == "int8":
        step = codes.scales[..., None].astype(np.float64) * calibration.spread[:, None]
        # Half a step, and the float32 arithmetic around it.
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
    if codec != "int8":
        assert found.tobytes() == expected.tobytes()
        return
    # One may fuse the multiplication with the addition, the other may not.
    rounding = 2 * EPS * (np.abs(expected - calibration.centre[:, None]) + np.abs(expected)) + 1e-44
    assert (np.abs(found.astype(np.float64) - expected) <= rounding).all()


def test_storage(codec, implementation):
    activations = normal(0, 2, 3, 4, 5)
    codes = implementation(codec, calibration_for(codec, activations)).encode(activations)
    assert codes.values.shape == activations.shape
    assert codes.values.dtype == storage_dtype(codec)
    assert codes.values.dtype == {"bfloat16": "uint16"}.get(codec, codec)
    assert (codes.scales is not None) == has_scales(codec) == (codec == "int8")
    if codes.scales is not None:
        assert codes.scales.shape == (2, 3, 4)
        assert codes.scales.dtype == np.float32


def test_no_images_are_encoded_and_decoded(codec, implementation):
    mine = implementation(codec, calibration_for(codec, normal(0, 2, 3, 4, 5)))
    empty = np.empty((0, 3, 4, 5), np.float32)
    assert mine.decode(mine.encode(empty)).shape == empty.shape


def test_a_token_is_encoded_alike_in_any_company(codec, implementation, tiny):
    activations = normal(1, 4, 2, 3, 8)
    mine = implementation(codec, calibration_for(codec, activations))
    together = mine.encode(activations)
    images = [mine.encode(activations[row : row + 1]) for row in range(4)]
    tokens = [mine.encode(activations[:, :, token : token + 1]) for token in range(3)]
    for parts, axis in ((images, 0), (tokens, 2)):
        scales = None if together.scales is None else np.concatenate([part.scales for part in parts], axis)
        values = np.concatenate([part.values for part in parts], axis)
        tiny.assert_same_codes(Codes(values, scales), together)


def test_a_subset_of_sites_is_decoded_as_in_the_whole(codec, implementation):
    activations = normal(2, 2, 4, 3, 8) * np.array([1, 10, 0.1, 5], np.float32)[:, None, None]
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
    assert worst > {"float32": 1000, "float16": 60, "bfloat16": 45, "int8": 40}[codec]
    if codec in ("float32", "int8"):
        np.testing.assert_array_equal(decoded[..., 9], np.float32(3.14159))
    np.testing.assert_array_equal(decoded[:, 1, :, 11], 0)


def test_a_site_that_is_constant_throughout_comes_back_exactly(codec, implementation):
    activations = np.full((3, 2, 4, 5), -1.5, np.float32)
    mine = implementation(codec, calibration_for(codec, activations))
    codes = mine.encode(activations)
    np.testing.assert_array_equal(mine.decode(codes), activations)
    if codes.scales is not None:
        np.testing.assert_array_equal(codes.scales, np.float32(SCALE_FLOOR))


def test_int8_never_clips_what_calibration_has_not_seen(implementation):
    calibration = calibrate(normal(5, 8, 1, 4, 16))
    far = normal(6, 8, 1, 4, 16) * np.float32(1e5)
    mine = implementation("int8", calibration)
    codes = mine.encode(far)
    assert np.abs(codes.values.astype(int)).max(axis=-1).tolist() == [[[127] * 4]] * 8
    error = np.abs(mine.decode(codes) - far) / calibration.spread
    assert (error <= np.abs(far / calibration.spread).max(axis=-1, keepdims=True) / 127 * 0.51).all()


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
    activations = normal(9, 2, 3, 4, 5)
    calibration = calibration_for(codec, activations)
    codes = Numpy(codec, calibration).encode(activations)
    on_device = DeviceCodec(codec, calibration).to_device(codes)
    assert on_device.values.dtype == getattr(torch, codec)
    tiny.assert_same_codes(on_device.to_host(), codes)


def test_a_codec_without_calibration_ignores_one(codec, implementation, tiny):
    activations = normal(10, 2, 1, 3, 4)
    calibration = calibrate(activations)
    alone = implementation(codec, calibration if codec == "int8" else None)
    tiny.assert_same_codes(implementation(codec, calibration).encode(activations), alone.encode(activations))


def test_int8_needs_a_calibration(implementation):
    with pytest.raises(AssertionError, match="codec int8 needs a calibration"):
        implementation("int8")


def test_a_calibration_read_from_a_cache_is_left_alone(implementation):
    activations = normal(11, 2, 1, 3, 4)
    calibration = calibrate(activations)
    before = (calibration.centre.copy(), calibration.spread.copy())
    for array in (calibration.centre, calibration.spread):
        array.flags.writeable = False
    mine = implementation("int8", calibration)
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
    """However many do not, and however wide one of them is."""
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
def test_a_channel_that_was_constant_in_the_sample_may_move_later(implementation, constant, wide):
    """Also beside a massive channel."""
    sample, later = normal(18, 32, 1, 10, 64), normal(19, 32, 1, 10, 64)
    moving = later[..., :constant] * np.float32(0.01)
    sample[..., :constant] = 0.5
    later[..., :constant] = 0.5 + moving
    for activations in (sample, later):
        activations[..., 63] *= wide
    mine = implementation("int8", calibrate(sample))
    error = mine.decode(mine.encode(later)).astype(np.float64) - later
    signal = later[..., constant:].astype(np.float64).var(axis=(0, 1, 2))
    snr = 10 * np.log10(signal / (error[..., constant:] ** 2).mean(axis=(0, 1, 2)))
    assert snr.min() > 35, snr.min()
    # What moved is not lost either: half a level of the floor's.
    assert np.abs(error[..., :constant]).max() < 1e-3


def test_selected_sites_come_in_the_given_order():
    calibration = Calibration(normal(14, 3, 4), normal(15, 3, 4))
    np.testing.assert_array_equal(calibration.select([2, 0]).centre, calibration.centre[[2, 0]])
    np.testing.assert_array_equal(calibration.select([2, 0]).spread, calibration.spread[[2, 0]])


def test_non_finite_values_are_refused_with_site_and_way_out():
    refuse_non_finite("float16", "block.03", 0, 0)
    with pytest.raises(NonFiniteActivations) as caught:
        refuse_non_finite("float16", "block.03", 0, 12)
    assert str(caught.value) == (
        "12 values at site 'block.03' are too large for codec=float16: use codec=bfloat16 or codec=int8"
    )
    for codec, advice in (
        ("bfloat16", "codec=int8 or codec=float32"),
        ("int8", "codec=bfloat16 or codec=float32"),
    ):
        with pytest.raises(NonFiniteActivations, match=rf"too large for codec={codec}: use {advice}$"):
            refuse_non_finite(codec, "block.03", 0, 1)
    with pytest.raises(NonFiniteActivations) as caught:
        refuse_non_finite("float16", "block.03", 5, 12)
    assert str(caught.value) == (
        "the backbone produced 5 NaN or infinite values at site 'block.03': compute in a wider dtype "
        "(dtype=float32 or dtype=bfloat16), or check the weights"
    )
