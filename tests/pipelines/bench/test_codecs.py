"""The table of the codecs, on the activations of an untrained toy transformer."""

import json
import math
import zlib

import numpy as np
import pytest
from rich.console import Console

from losa.cache_format import Cache, LosaError, calibrate, make_codec
from losa.cache_format.codecs.integer import INTEGER_FORMATS
from losa.pipelines.bench.codecs import _DeltaCodec, _entropy, codec_report, codec_table

SPLIT, SAMPLE, IMAGES = "train800", 10, 20


@pytest.fixture(scope="module")
def caches(command, tmp_path_factory):
    """``caches/float32`` and ``caches/float16``: forty digits of each split."""
    folder = tmp_path_factory.mktemp("caches")
    options = "backbone.name=test_vit backbone.pretrained=false sites=3 limit=40 workers=0"
    for codec in ("float32", "float16"):
        finished = command(folder, "losa-extract", *options.split(), f"codec={codec}", f"cache={codec}")
        assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture(scope="module")
def rows(caches):
    return codec_table(caches / "float32", SPLIT, IMAGES, SAMPLE)


def stream(seed: int, images: int) -> np.ndarray:
    """Activations whose sites differ by a tenth from the site before; one channel has a wide range."""
    steps = np.random.default_rng(seed).normal(size=(images, 6, 20, 70)).astype(np.float32)
    steps[:, 1:] /= 10
    steps[..., 3] *= 100
    return steps.cumsum(axis=1)


def test_a_row_for_every_codec_and_the_candidate(rows):
    names = ["float32", "float16", "bfloat16", "int8", "int4", "int8-delta", "int4-delta"]
    assert [row["codec"] for row in rows] == names
    assert all(row.keys() == rows[0].keys() for row in rows)


def test_the_numbers_are_those_of_the_codec(caches, rows):
    split = Cache(caches / "float32").split(SPLIT)
    order = np.random.default_rng(0).permutation(len(split))
    sample, images = (split.read(part).values for part in (order[:SAMPLE], order[SAMPLE : SAMPLE + IMAGES]))
    values = images[:, 0].size
    for row in rows[:5]:
        codec = make_codec(row["codec"], calibrate(sample))
        codes = codec.encode(images)
        error = (codec.decode(codes).astype(np.float64) - images) ** 2
        scales = 0 if codes.scales is None else codes.scales.nbytes
        assert row["bytes_per_image"] * len(images) == codes.values.nbytes + scales
        if row["codec"] == "float32":
            assert row["entropy_bits_per_value"] is None
            assert {row["snr_db"], row["snr_db_worst_channel_centred"]} == {math.inf}
            continue
        wide = images.astype(np.float64)
        of_sites = 10 * np.log10((wide**2).sum(axis=(0, 2, 3)) / error.sum(axis=(0, 2, 3)))
        np.testing.assert_allclose(row["snr_db_per_site"], of_sites, atol=0.01)
        assert row["snr_db"] == pytest.approx(of_sites.mean(), abs=0.01)
        assert row["snr_db_worst_site"] == pytest.approx(of_sites.min(), abs=0.01)
        noise = error.mean(axis=(0, 2))
        for name, signal in (("", (wide**2).mean(axis=(0, 2))), ("_centred", wide.var(axis=(0, 2)))):
            worst = (10 * np.log10(signal / noise)).min()
            assert row[f"snr_db_worst_channel{name}"] == pytest.approx(worst, abs=0.01)
        if row["codec"] in ("float16", "bfloat16"):
            counts = [np.unique(codes.values[:, site], return_counts=True)[1] for site in range(3)]
            bits = np.mean([-(count / values * np.log2(count / values)).sum() for count in counts])
            assert row["entropy_bits_per_value"] == pytest.approx(bits)
        # Another compressor gives about the same size.
        smallest = len(zlib.compress(codes.values.tobytes(), 9)) / len(images)
        assert 0.8 * smallest < row["bytes_per_image_zstd"] < 1.1 * row["bytes_per_image"]


def test_entropy_counts_every_value_of_int4():
    assert _entropy(np.array([[1, 1, 1, 1], [4, 0, 0, 0], [2, 2, 0, 0]])) == pytest.approx((2 + 0 + 1) / 3)


def test_the_rows_are_a_function_of_the_arguments(caches, rows):
    assert codec_table(caches / "float32", SPLIT, IMAGES, SAMPLE) == rows


@pytest.mark.parametrize("name", INTEGER_FORMATS)
def test_delta_errors_do_not_add_up(name):
    """The error of a site is that of its own difference, for any number of sites before it."""
    sample, images = stream(0, 8), stream(1, 4)
    differences = np.diff(sample, axis=1, prepend=0)
    delta = _DeltaCodec(name, calibrate(differences))
    codes = delta.encode(images)
    plain = make_codec(name, calibrate(sample)).encode(images)
    assert (codes.values.shape, codes.values.dtype) == (plain.values.shape, plain.values.dtype)
    assert (codes.scales.shape, codes.scales.dtype) == (plain.scales.shape, plain.scales.dtype)
    error = (delta.decode(codes).astype(np.float64) - images)[..., 4:].std(axis=(0, 2, 3))
    assert error[1:].max() < 1.5 * error[1:].min()
    # Differences of a tenth have an error of a tenth, 20 dB less.
    assert 8 < error[0] / error[1:].mean() < 12


def test_a_cache_of_another_codec_is_refused(caches):
    with pytest.raises(LosaError, match="float16: expected codec=float32, found codec=float16"):
        codec_table(caches / "float16", SPLIT, IMAGES, SAMPLE)


def test_a_missing_split_is_named_with_its_option(caches):
    with pytest.raises(LosaError, match=r"no split 'tarin'; it has: .*; choose with --split$"):
        codec_table(caches / "float32", "tarin", IMAGES, SAMPLE)


def test_too_few_images_are_refused(caches):
    message = "split 'train800' has 40 valid images: expected more than the sample's 128"
    with pytest.raises(LosaError, match=message):
        codec_table(caches / "float32", SPLIT, IMAGES)


def test_the_report_shows_every_row(rows):
    console = Console(width=160, record=True)
    console.print(codec_report(rows))
    text = console.export_text()
    for row in rows:
        assert row["codec"] in text
        assert f"{row['bytes_per_image']:,}" in text
    assert f"{rows[3]['snr_db']:.1f}" in text


def test_the_command(command, caches, tmp_path):
    options = "backbone.name=test_vit backbone.pretrained=false sites=2 limit=140 workers=0 splits=[train800]"
    finished = command(tmp_path, "losa-extract", *options.split(), "codec=float32", "cache=digits")
    assert finished.returncode == 0, finished.stderr
    table = ["losa-bench", "codecs", "digits", "--split", "train800", "--images", "4"]
    told = command(tmp_path, *table, "--json")
    assert told.returncode == 0, told.stderr
    rows = json.loads(told.stdout, parse_constant=pytest.fail)["rows"]
    assert [row["snr_db"] is None for row in rows] == [True] + [False] * 6
    assert "int4-delta" in command(tmp_path, *table).stdout
    few = command(caches, "losa-bench", "codecs", "float32", "--split", SPLIT)
    assert few.returncode == 1
    assert few.stderr == f"error: split '{SPLIT}' has 40 valid images: expected more than the sample's 128\n"
