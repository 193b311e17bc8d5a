import builtins
import re
import struct

import av
import numpy as np
import pytest
from PIL import Image

from losa.cache_format import LosaError
from losa.cache_format.clips import Clip
from losa.cache_format.identity import FrameSampling, ImageDecoding
from losa.extract.config import MAX_PIXELS
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.sources import InvalidImage
from losa.extract.video_decoding import decode_video, refuse_without_pyav

IGNORED = ImageDecoding(exif="ignore", background=(255, 255, 255))


def decoded(data, frames=4, stride=None, clip=None, decoding=DEFAULT_DECODING, max_pixels=MAX_PIXELS):
    sampling = FrameSampling(frames=frames, stride=stride)
    return decode_video(data, sampling, clip or Clip(), decoding, max_pixels)


def numbers(video):
    """Which frames of a film these are, by their levels of grey."""
    return [round(np.asarray(frame)[4, 4].mean() / 16) for frame in video.frames]


@pytest.fixture
def made(film, tmp_path):
    """``made(name, ...)``: the bytes of a film."""
    return lambda name="a.mp4", **options: film(tmp_path / name, **options).read_bytes()


@pytest.mark.parametrize(
    ("name", "codec", "between"),
    [
        ("a.mp4", "libx264", 0),
        ("a.mp4", "libx264", 2),
        ("a.mkv", "libx264", 2),
        ("a.webm", "libvpx", 0),
        ("a.avi", "mpeg4", 0),
        ("a.avi", "mpeg4", 2),
        ("a.mpg", "mpeg2video", 2),
        ("a.ts", "mpeg2video", 0),
    ],
)
def test_frames_are_those_that_were_written(made, name, codec, between):
    data = made(name, codec=codec, between=between, rate=25)
    video = decoded(data)
    assert numbers(video) == [1, 4, 7, 10]
    assert [frame.size for frame in video.frames] == [(48, 32)] * 4
    assert all(frame.mode == "RGB" for frame in video.frames)
    assert numbers(decoded(data, frames=3, stride=2, clip=Clip(2, 2))) == [7, 9, 11]
    assert numbers(decoded(data, frames=12)) == list(range(12))


def test_a_varying_rate_is_sampled_as_it_is_seen(made):
    times = [100 * frame for frame in range(6)] + [600 + 1000 * frame for frame in range(6)]
    assert numbers(decoded(made(milliseconds=times))) == [6, 7, 9, 10]


class TestTurned:
    MATRICES = (
        ((0, 1, -1, 0), Image.Transpose.ROTATE_270),
        ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
        ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
        ((1, 0, 0, -1), Image.Transpose.FLIP_TOP_BOTTOM),
        ((0, 1, 1, 0), Image.Transpose.TRANSPOSE),
        ((0, -1, -1, 0), Image.Transpose.TRANSVERSE),
    )

    @staticmethod
    def turned(data: bytes, matrix: tuple[float, ...]) -> bytes:
        """The video with another display matrix, which is near the end of the header of its track."""
        a, b, c, d = (round(value * 2**16) for value in matrix)
        start = data.index(b"tkhd") + 44
        upright = struct.pack(">9i", 2**16, 0, 0, 0, 2**16, 0, 0, 0, 2**30)
        assert data[start : start + 36] == upright
        return data[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30) + data[start + 36 :]

    @pytest.mark.parametrize(("matrix", "turn"), MATRICES)
    def test_the_display_matrix_is_applied(self, made, matrix, turn):
        data = made()
        turned = decoded(self.turned(data, matrix))
        expected = decoded(data).frames[0].transpose(turn)
        assert turned.turned
        assert turned.frames[0].size == expected.size
        assert np.array_equal(np.asarray(turned.frames[0]), np.asarray(expected))

    @pytest.mark.parametrize("decoding", [IGNORED, None])
    def test_or_ignored(self, made, decoding):
        data = made()
        turned = decoded(self.turned(data, (0, 1, -1, 0)), decoding=decoding)
        assert turned.turned
        assert np.array_equal(np.asarray(turned.frames[0]), np.asarray(decoded(data).frames[0]))

    def test_an_upright_one_is_not_turned(self, made):
        assert not decoded(made()).turned

    def test_other_angles_are_refused(self, made):
        with pytest.raises(InvalidImage, match="by an angle that is no multiple of 90 degrees"):
            decoded(self.turned(made(), (0.8, 0.6, -0.6, 0.8)))


class TestDamaged:
    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("a.mp4", "libx264", {}),
            ("a.mp4", "libx264", {"movflags": "faststart"}),
            ("a.mkv", "libx264", {}),
            ("a.webm", "libvpx", {}),
            ("a.avi", "mpeg4", {}),
        ],
    )
    def test_a_truncated_video_is_refused_unless_no_frame_is_missing(self, made, name, codec, options):
        data = made(name, codec=codec, options=options)
        whole = decoded(data, frames=12)
        reasons = []
        for size in range(len(data) - 7, 0, -len(data) // 20):
            try:
                found = decoded(data[:size], frames=12)
            except InvalidImage as error:
                reasons.append(str(error))
            else:
                assert numbers(found) == numbers(whole)
        assert len(reasons) > 15
        assert all(re.search("truncated|damaged|no video stream", reason) for reason in reasons)

    def test_it_ends_between_two_frames(self, made, tmp_path):
        data = made(options={"movflags": "faststart"})
        with av.open(str(tmp_path / "a.mp4")) as container:
            ends = [packet.pos + packet.size for packet in container.demux() if packet.size]
        assert len(ends) == 12
        with pytest.raises(InvalidImage, match=r"it is truncated: its data end 0\.6 s before its 1\.2 s"):
            decoded(data[: ends[5]])

    def test_damage_is_not_concealed(self, made):
        data = bytearray(made())
        middle = data.index(b"mdat") + 4 + 900
        data[middle : middle + 40] = bytes(40)
        with pytest.raises(InvalidImage, match="damaged"):
            decoded(bytes(data), frames=12)

    @pytest.mark.parametrize("data", [b"", b"no video" * 99, b"#EXTM3U\n#EXTINF:3,\nfile:///etc/passwd\n"])
    def test_no_video(self, data):
        with pytest.raises(InvalidImage, match="no video that FFmpeg decodes"):
            decoded(data)

    def test_a_playlist_would_open_other_files(self, film, tmp_path):
        film(tmp_path / "a.mp4")
        playlist = b"ffconcat version 1.0\nfile a.mp4\n"
        with pytest.raises(InvalidImage, match="no video that FFmpeg decodes"):
            decoded(playlist)

    def test_sound_alone(self, tmp_path):
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with pytest.raises(InvalidImage, match="it has no video stream"):
            decoded((tmp_path / "a.mp4").read_bytes())

    def test_too_large(self, made):
        with pytest.raises(InvalidImage, match="48 x 32 pixels are more than max_pixels=1000"):
            decoded(made(), max_pixels=1000)

    def test_too_short(self, made):
        with pytest.raises(InvalidImage, match="it has 12 frames; a clip of frames=13 needs 13"):
            decoded(made(), frames=13)


def test_without_pyav_there_is_advice(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "av":
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LosaError, match=r"pip install 'losa\[video\]'"):
        refuse_without_pyav()
