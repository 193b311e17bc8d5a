import json
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format.identity import FrameSampling


@pytest.mark.long
def test_videos_are_predicted_by_several_clips(
    command: Any, make_run: Any, film: Any, tmp_path: Path
) -> None:
    make_run(tmp_path / "runs/losa", "losa", sampling=FrameSampling(frames=2, stride=2))
    for number in range(2):
        film(tmp_path / f"videos/{number}.mp4", seed=9 * number, size=(96, 64))
    (tmp_path / "videos/9.mp4").write_bytes(b"no video")
    (tmp_path / "videos/thumbnail.jpg").write_bytes(b"")
    found = {}
    for options in ((), ("clips=2", "crops=2")):
        finished = command(
            tmp_path, "losa-predict", "runs", "videos", "format=json", "workers=0", "device=cpu", *options
        )
        assert finished.returncode == 0, finished.stderr
        assert "1 of 3 images could not be read, and are left out\n" in finished.stderr
        lines = [json.loads(line) for line in finished.stdout.splitlines()]
        assert [line["image"] for line in lines] == ["videos/0.mp4", "videos/1.mp4"]
        found[options] = [line["predictions"][0]["classes"][0]["probability"] for line in lines]
    one, several = found.values()
    assert one != several
