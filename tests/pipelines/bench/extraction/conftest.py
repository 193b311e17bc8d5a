"""Photographs and settings for the tests of losa-bench extract."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from losa.pipelines.bench.extraction.photographs import make_photographs
from losa.pipelines.bench.extraction.setting import Setting


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def setting(tmp_path: Path) -> Callable[..., Setting]:
    """``setting(method, **others)``: a tiny backbone and three made-up photographs."""
    for name in ("photographs", "prepared"):
        (tmp_path / name).mkdir()
    files = make_photographs(tmp_path / "photographs", 3, 40)

    def make(method: str, **others: Any) -> Setting:
        options: dict[str, Any] = {
            "method": method,
            "files": files,
            "folder": str(tmp_path / "prepared"),
            "backbone": "test_vit",
            "checkpoint": None,
            "batch": 2,
            "sites": 2,
            "codec": "int8",
            "dtype": "float32",
            "device": "cpu",
            "threads": None,
            "workers": 0,
        }
        return Setting(**(options | others))

    return make
