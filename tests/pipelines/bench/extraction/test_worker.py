import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest

from losa.pipelines.bench.extraction import worker
from losa.pipelines.bench.extraction.setting import Method
from losa.pipelines.bench.extraction.worker import answers


@pytest.fixture
def ask(setting, monkeypatch):
    """``ask(start, *requests)``: the answers of a worker whose method is made up."""

    def ask(method, *images, name="forward"):
        monkeypatch.setitem(worker.METHODS, name, method)
        return list(answers(map(json.dumps, [asdict(setting(name, threads=1)), *images])))

    return ask


def test_every_method_is_known():
    assert tuple(worker.METHODS) == get_args(Method)


def test_each_pass_has_its_figures_and_an_empty_folder(ask):
    folders = []

    def start(images: int, folder: Path):
        (folder / "prepared").write_bytes(b"12345")

        def run() -> None:
            folders.append(folder)
            assert [path.name for path in folder.iterdir()] == ["prepared"]
            (folder / "below").mkdir()
            (folder / "below/written").write_bytes(bytes(images))

        return run

    ready, first, second = ask(lambda setting: start, 7, 9)
    assert ready == {"threads": 1}
    assert (first["bytes_written"], second["bytes_written"]) == (7, 9)
    assert first["seconds"] > 0
    assert first["peak_bytes"] > 1e7
    assert first["gpu_peak_bytes"] is None
    assert not any(folder.exists() for folder in folders)


def test_a_wrong_option_is_an_error(setting):
    (found,) = answers(iter([json.dumps(asdict(setting("timm+npy", backbone="test_vitt")))]))
    assert "test_vitt" in found["error"]


def test_a_library_that_is_missing_or_fails_is_a_note(ask):
    def missing(setting):
        raise ModuleNotFoundError("No module named 'thingsvision'")

    def failing(setting):
        return lambda images, folder: lambda: 1 / 0

    expected = {"note": "ModuleNotFoundError: No module named 'thingsvision'"}
    assert ask(missing, name="thingsvision") == [expected]
    assert ask(failing, 3, 3, name="kaiko-eva")[1:] == [{"note": "ZeroDivisionError: division by zero"}]
    with pytest.raises(ZeroDivisionError):
        ask(failing, 3)
