"""A page that is served within the process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from losa.pipelines import Classifier, load
from losa.pipelines.serve.application import make_application


@pytest.fixture(scope="session")
def classifier(runs: Path) -> Classifier:
    return load(runs, device="cpu", max_pixels=10_000)


@pytest.fixture
def client(classifier: Classifier) -> Callable[..., TestClient]:
    """``client(**changes)``: a browser of this machine."""

    def make(**changes: Any) -> TestClient:
        options = {"top": 2, "max_upload": 5_000, "local": True} | changes
        return TestClient(make_application(classifier, **options), base_url="http://127.0.0.1:8000")

    return make


@pytest.fixture
def photo(paint_photo: Callable[..., Path], tmp_path: Path) -> bytes:
    return paint_photo(tmp_path / "a.png").read_bytes()
