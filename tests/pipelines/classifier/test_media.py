from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.cache_format.identity import FrameSampling
from losa.pipelines import load


def test_a_classifier_takes_images(make_run: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "run", "losa", sampling=FrameSampling(frames=2))
    message = r"take side networks of images; these were trained on clips of 2 frames"
    with pytest.raises(LosaError, match=message):
        load(tmp_path / "run", device="cpu")
