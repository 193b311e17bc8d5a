import numpy as np
import pytest
import torch

from losa.cache_format import LosaError, NonFiniteActivations, calibrate
from losa.extract.calibration import SAMPLE_IMAGES, calibrate_from, sample_keys

SITES = ("embed", "block.03")


@pytest.fixture
def activations():
    """30 images; channel 0 never changes, channel 1 is small beside its mean, channel 2 is wide."""
    values = np.random.default_rng(0).normal(size=(30, 2, 5, 6)).astype(np.float32)
    values[..., 0] = 7
    values[..., 1] = 1000 + values[..., 1] / 10
    values[..., 2] *= 100
    return values


@pytest.mark.parametrize("cuts", [[30], [1] * 30, [8, 0, 22], [0, 29, 1]])
def test_streamed_equals_the_numpy_reference(activations, cuts):
    expected = calibrate(activations)
    found = calibrate_from(torch.split(torch.from_numpy(activations), cuts), SITES)
    for mine, reference in ((found.centre, expected.centre), (found.spread, expected.spread)):
        assert mine.dtype == np.float32
        assert mine.shape == (2, 6)
        np.testing.assert_allclose(mine, reference, rtol=1e-5)


def test_centre_and_spread_are_mean_and_deviation(activations):
    found = calibrate_from([torch.from_numpy(activations)], SITES)
    wide = activations.astype(np.float64)
    np.testing.assert_allclose(found.centre, wide.mean(axis=(0, 2)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.spread[:, 1:], wide.std(axis=(0, 2))[:, 1:], rtol=1e-4)
    # The channel that never changes gets a floor, so that nothing is divided by zero.
    np.testing.assert_allclose(found.spread[:, 0], 1e-2 * np.median(found.spread[:, 1:], axis=1), rtol=1e-6)


def test_half_precision_is_summed_in_double(activations):
    half = torch.from_numpy(activations).bfloat16()
    found, expected = calibrate_from([half], SITES), calibrate(half.float().numpy())
    np.testing.assert_allclose(found.spread, expected.spread, rtol=1e-6)


@pytest.mark.parametrize("batches", [[], [torch.empty(0, 2, 5, 6)]])
def test_no_readable_image_is_refused(batches):
    with pytest.raises(LosaError, match="none of the images of the calibration sample can be read"):
        calibrate_from(batches, SITES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_the_backbone_spoilt_is_refused_at_once_and_named_with_its_site(activations, value):
    activations[3, 1, 0, :2] = value
    taken = []

    def batches():
        for batch in torch.split(torch.from_numpy(activations), 2):
            taken.append(batch)
            yield batch

    with pytest.raises(NonFiniteActivations) as caught:
        calibrate_from(batches(), SITES)
    assert str(caught.value) == (
        "the backbone produced 2 NaN or infinite values at site 'block.03': compute in a wider dtype "
        "(dtype=float32 or dtype=bfloat16), or check the weights"
    )
    assert len(taken) == 2


def test_the_largest_floats_can_be_calibrated():
    largest = torch.full((2, 2, 5, 6), torch.finfo(torch.float32).max)
    assert np.isfinite(calibrate_from([largest, -largest], SITES).spread).all()


def test_the_sample_is_a_function_of_the_ordered_keys():
    keys = [f"{number}.png" for number in range(1000)]
    sample = sample_keys(keys)
    assert sample == sample_keys(iter(keys))
    assert len(sample) == SAMPLE_IMAGES == len(set(sample))
    assert sample == sorted(sample, key=keys.index)
    # From all of the data set, not from its beginning.
    assert keys.index(sample[0]) < 50
    assert keys.index(sample[-1]) > 950
    assert sample != sample_keys(keys[::-1])


def test_images_of_several_splits_count_once():
    keys = [f"{number}.png" for number in range(50)]
    assert sample_keys(keys + keys[:20] + keys) == keys
