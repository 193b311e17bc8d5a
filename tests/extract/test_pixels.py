"""Every pixel format has one defined conversion to 8-bit RGB, or is refused with its name."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from losa.cache_format.identity import ImageDecoding
from losa.extract.config import MAX_PIXELS
from losa.extract.image_formats import image_extensions, image_formats
from losa.extract.pixels import DEFAULT_DECODING, decode_image
from losa.extract.sources import InvalidImage

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
ORIENTATION = 0x0112


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(stored, decoding=DEFAULT_DECODING, max_pixels=MAX_PIXELS):
    found = decode_image(stored, decoding, max_pixels)
    assert found.image.mode == "RGB"
    return np.asarray(found.image)


def grey(*values, dtype=np.uint8):
    return Image.fromarray(np.array([values], dtype))


class TestDeepPixels:
    VALUES = (0, 127, 128, 257, 32_768, 65_535)
    EXPECTED = (0, 0, 0, 1, 128, 255)

    @pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
    def test_sixteen_bit_grey_is_scaled(self, format):
        image = grey(*self.VALUES, dtype=np.uint16)
        options = {"irreversible": False} if format == "JPEG2000" else {}
        found = decoded(encoded(image, format, **options))
        assert found[0, :, 0].tolist() == found[0, :, 2].tolist() == list(self.EXPECTED)

    def test_in_either_byte_order(self):
        for mode in ("I;16B", "I;16L"):
            order = ">u2" if mode.endswith("B") else "<u2"
            image = Image.frombytes(mode, (6, 1), np.array(self.VALUES, order).tobytes())
            assert decoded(image)[0, :, 1].tolist() == list(self.EXPECTED)

    def test_a_ramp_stays_a_ramp(self):
        ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
        found = decoded(encoded(Image.fromarray(ramp)))[..., 0].astype(float)
        assert np.abs(found - ramp / 257).max() <= 0.5

    @pytest.mark.parametrize(
        ("image", "mode"), [(grey(1, 2, dtype=np.int32), "I"), (grey(0.5, dtype=np.float32), "F")]
    )
    def test_pixels_without_a_known_range_are_refused(self, image, mode):
        with pytest.raises(InvalidImage, match=f"pixels of mode '{mode}' have no agreed conversion"):
            decoded(encoded(image, "TIFF"))
        with pytest.raises(InvalidImage, match=f"pixels of mode '{mode}'"):
            decoded(image)

    def test_lab_is_refused(self):
        with pytest.raises(InvalidImage, match="pixels of mode 'LAB'"):
            decoded(encoded(Image.new("LAB", (2, 2)), "TIFF"))


class TestTransparency:
    @pytest.mark.parametrize("background", [WHITE, BLACK, (10, 20, 30)])
    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
    def test_hidden_pixels_do_not_show(self, mode, background):
        """Two pixels, of which the first is transparent and hides red or grey."""
        hidden, seen = ((255, 0, 0), (0, 0, 255)) if mode not in ("L", "LA") else ((40,) * 3, (90,) * 3)
        image = Image.new("RGB", (2, 1))
        image.putpixel((0, 0), hidden)
        image.putpixel((1, 0), seen)
        options = {}
        if mode in ("RGBA", "LA", "PA"):
            image = image.convert("P" if mode == "PA" else mode.removesuffix("A"))
            image.putalpha(Image.fromarray(np.array([[0, 255]], np.uint8)))
            assert image.mode == mode
        elif mode == "P":
            image = image.quantize(2)
            options = {"transparency": image.getpixel((0, 0))}
        else:
            image = image.convert(mode)
            options = {"transparency": image.getpixel((0, 0))}
        stored = image if mode == "PA" else encoded(image, **options)
        found = decoded(stored, ImageDecoding(exif="apply", background=background))
        assert found.tolist() == [[list(background), list(seen)]]

    def test_half_transparent_pixels_are_mixed(self):
        image = Image.new("RGBA", (1, 1), (200, 0, 0, 128))
        assert decoded(encoded(image))[0, 0].tolist() == [227, 127, 127]

    def test_sixteen_bit_grey_with_a_transparent_value(self):
        stored = encoded(grey(40_000, 0, 40_001, dtype=np.uint16), transparency=40_000)
        found = decoded(stored, ImageDecoding(exif="apply", background=RED))
        assert found[0].tolist() == [list(RED), [0, 0, 0], [156, 156, 156]]

    def test_other_formats(self):
        image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        for format in ("WEBP", "TIFF", "GIF"):
            assert decoded(encoded(image, format)).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_pillows_conversion(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    assert np.array_equal(decoded(image), np.asarray(image.convert("RGB")))


def test_cmyk_files_have_their_colours():
    """Adobe's JPEG files hold them inverted, which Pillow knows."""
    for format in ("JPEG", "TIFF"):
        image = Image.new("RGB", (8, 8), (250, 10, 20)).convert("CMYK")
        assert np.abs(decoded(encoded(image, format)).astype(int) - (250, 10, 20)).max() <= 6


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_taken(format):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))
    options = {"lossless": True} if format == "WEBP" else {}
    found = decoded(encoded(first, format, save_all=True, append_images=[second], **options))
    assert np.abs(found.astype(int) - RED).max() <= 2


class TestOrientation:
    @pytest.fixture
    def upright(self):
        return np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)

    def _stored(self, upright, orientation, format="PNG"):
        """The picture as a camera held otherwise stores it."""
        turned = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options = {"lossless": True} if format == "WEBP" else {}
        return turned, encoded(Image.fromarray(np.ascontiguousarray(turned)), format, exif=exif, **options)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["PNG", "WEBP"])
    def test_it_is_applied_or_ignored_and_told(self, upright, orientation, format):
        as_stored, stored = self._stored(upright, orientation, format)
        found = decode_image(stored, DEFAULT_DECODING, MAX_PIXELS)
        assert np.array_equal(np.asarray(found.image), upright)
        assert found.turned is (orientation != 1)
        ignored = decode_image(stored, ImageDecoding(exif="ignore", background=WHITE), MAX_PIXELS)
        assert np.array_equal(np.asarray(ignored.image), as_stored)
        assert ignored.turned is (orientation != 1)

    def test_numbers_that_are_no_orientation(self, upright):
        exif = Image.Exif()
        for value in (0, 9, 1000):
            exif[ORIENTATION] = value
            found = decode_image(encoded(Image.fromarray(upright), exif=exif), DEFAULT_DECODING, MAX_PIXELS)
            assert (found.image.size, found.turned) == ((6, 4), False)

    def test_damaged_exif_data_do_not_make_an_image_invalid(self, upright):
        stored = encoded(
            Image.fromarray(upright), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 20
        )
        found = decode_image(stored, DEFAULT_DECODING, MAX_PIXELS)
        assert (found.image.size, found.turned) == ((6, 4), False)


class TestSize:
    def test_a_limit_is_refused_before_pixels_are_decoded(self):
        stored = encoded(Image.new("1", (20_000, 20_000)))
        with pytest.raises(InvalidImage, match=r"20,000 x 20,000 pixels are more than max_pixels=178956970"):
            decoded(stored)

    def test_a_higher_limit_is_obeyed_and_pillows_is_left_as_it_was(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoded(encoded(Image.new("L", (10, 10))), max_pixels=100)
        assert Image.MAX_IMAGE_PIXELS == 10


def test_warnings_are_kept_for_those_who_can_name_the_image(monkeypatch):
    def load(self, *arguments):
        warnings.warn("Metadata Warning, tag 256 had too many entries", stacklevel=1)
        warnings.warn("Metadata Warning, tag 256 had too many entries", stacklevel=1)
        return original(self, *arguments)

    original = TiffImagePlugin.TiffImageFile.load
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", load)
    found = decode_image(encoded(Image.new("L", (2, 2)), "TIFF"), DEFAULT_DECODING, MAX_PIXELS)
    assert found.warnings == ("Metadata Warning, tag 256 had too many entries",)


def test_ghostscript_is_never_started(monkeypatch):
    """An image named .jpg may hold PostScript, which is a program."""
    assert "EPS" not in image_formats()
    assert not {".eps", ".ps", ".pdf", ".h5"} & image_extensions()
    assert {".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".jp2"} <= image_extensions()
    stored = encoded(Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(InvalidImage, match="not an image in a format that Pillow knows"):
        decoded(stored)


class TestWithoutARecord:
    """Caches of the first version have no rules: pixels are as they were then."""

    @pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
    def test_it_is_pillows_conversion(self, mode):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
        image = Image.fromarray(pixels, "RGBA").convert("L" if mode == "I;16" else "RGBA")
        image = image.convert("RGB").convert(mode) if mode in ("P", "CMYK") else image.convert(mode)
        assert np.array_equal(decoded(image, None), np.asarray(image.convert("RGB")))

    def test_exif_data_are_ignored(self):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        stored = encoded(Image.new("RGB", (4, 2)), exif=exif)
        assert decode_image(stored, None, MAX_PIXELS).image.size == (4, 2)
