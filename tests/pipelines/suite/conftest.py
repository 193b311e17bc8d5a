"""Data sets of a few drawn images, and options of a suite of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from losa.pipelines import resolvers
from losa.pipelines.command_line import to_config
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.swept_options import gathered

LABELS = {"train800": (0, 1, 0, 1), "val200": (0, 1), "test": (0, 1, 1)}
_TINY = [
    "backbone.name=test_vit",
    "backbone.pretrained=false",
    "extract.sites=2",
    "extract.codec=float32",
    "device=cpu",
    "workers=0",
    "side=linear",
    "lr=1e-3",
    "dropout=0.0",
    "epochs=1",
    "seeds=2",
]
"""Options of a run of seconds; more of them may follow."""

DrawTask = Callable[..., Path]


@pytest.fixture
def draw_task(paint_photo: Callable[..., Path]) -> DrawTask:
    """``draw_task(folder, **labels)``: a task in the community layout, with these labels of its splits."""

    def draw(folder: Path, **labels: Sequence[int]) -> Path:
        lines: dict[str, list[str]] = {}
        for number, (split, of_split) in enumerate({**LABELS, **labels}.items()):
            lines[split] = [f"images/{split}/{place}.png {label}\n" for place, label in enumerate(of_split)]
            for place in range(len(of_split)):
                paint_photo(folder / f"images/{split}/{place}.png", 10 * number + place)
        lines["train800val200"] = lines["train800"] + lines["val200"]
        for split, listed in lines.items():
            (folder / f"{split}.txt").write_text("".join(listed))
        return folder

    return draw


@pytest.fixture
def tiny() -> list[str]:
    """Options of a run of seconds."""
    return _TINY


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., SuiteConfig]:
    """``options(*typed, suite=...)``: the options of a tiny run, as they are typed."""
    resolvers.register()

    def make(*typed: str, suite: str = "vtab1k") -> SuiteConfig:
        chosen = {option.partition("=")[0]: option for option in (*_TINY, *typed)}
        arguments = [f"root={tmp_path / 'root'}", f"out={tmp_path / 'out'}", *chosen.values()]
        with initialize_config_module("losa.conf", version_base="1.3"):
            return to_config(SuiteConfig, compose(suite, gathered(arguments)))

    return make
