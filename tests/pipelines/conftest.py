"""A small cache and small side networks, and what stands in for trainings."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from losa.adapt import AdaptConfig, Job, MemberSummary, TrainingListener
from losa.cache_format.engines import Engine


@pytest.fixture(scope="module", autouse=True)
def _whole_commands(shapes_are_not_checked: None) -> None:
    pass


@pytest.fixture(autouse=True)
def _whole_trainings(sizes_are_not_measured: None) -> None:
    pass


@pytest.fixture
def forked_modules(run_alone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of ``python -m module`` that benchmarks start are forked, see `run_alone`.

    Nor do they multiply large matrices, to tell the rate of matrix products.
    """

    def run(command: list[str], **options: Any) -> Any:
        python, option, module, *arguments = command
        assert (python, option) == (sys.executable, "-m")
        program = f"""
import runpy
from losa.pipelines.bench import matrix_rate
matrix_rate.LARGE_SIZES = {{"cpu": ()}}
runpy.run_module({module!r}, run_name="__main__")
"""
        return run_alone(program, *arguments)

    monkeypatch.setattr(subprocess, "run", run)


Command = Callable[..., Any]


@pytest.fixture(scope="session")
def extracted(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``cache``: forty digits of each split through an untrained toy transformer."""
    folder = tmp_path_factory.mktemp("extracted")
    options = "backbone.name=test_vit backbone.pretrained=false sites=2 limit=40 workers=0 cache=cache"
    finished = command(folder, "losa-extract", *options.split())
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture(scope="session")
def arrived() -> Callable[[str], str]:
    """``arrived(typed)``: the text that ``name=...``, typed in a shell, gives to an option in the end."""

    def text_of(typed: str) -> str:
        (argument,) = shlex.split(typed)
        override = OverridesParser.create().parse_override(argument)
        assert not override.is_sweep_override()
        found = OmegaConf.to_container(OmegaConf.create({"found": override.value()}), resolve=True)
        assert isinstance(found, dict)
        text = found["found"]
        assert isinstance(text, str)
        return text

    return text_of


def by_rank(config: AdaptConfig) -> float:
    """An accuracy that is known beforehand."""
    return (config.resolved_rank + config.seed) / 100


@dataclass
class Training:
    """A stand-in for losa.adapt that writes summaries without training anything."""

    passes: list[list[Job]] = field(default_factory=list)
    """The jobs of each pass."""
    trained: list[str] = field(default_factory=list)
    """Names of the members that were trained, not found finished."""
    errors: dict[str, Exception] = field(default_factory=dict)
    """The error of a member, by the beginning of its name."""
    score: Callable[[AdaptConfig], float] = by_rank
    make_summary: Callable[..., MemberSummary] = field(kw_only=True)

    def adapt_all(
        self, jobs: Sequence[Job], listener: TrainingListener | None = None, engine: Engine | None = None
    ) -> list[MemberSummary | Exception]:
        self.passes.append(list(jobs))
        return [self._outcome(job) for job in jobs]

    def _outcome(self, job: Job) -> MemberSummary | Exception:
        config = job.config
        for beginning, error in self.errors.items():
            if config.member_name.startswith(beginning):
                return error
        path = job.folder / "summary.json"
        if path.exists():
            return MemberSummary.from_json(json.loads(path.read_text()))
        self.trained.append(config.member_name)
        job.folder.mkdir(parents=True, exist_ok=True)
        summary = self.make_summary(
            config,
            rank=config.resolved_rank,
            parameters=100 * config.resolved_rank,
            accuracy=dict.fromkeys(config.eval_splits, self.score(config)),
            folder=str(job.folder),
        )
        path.write_text(json.dumps(summary.to_json()))
        return summary


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, make_summary: Callable[..., MemberSummary]) -> Training:
    """Commands train nothing; the members they would have trained are recorded."""
    stand_in = Training(make_summary=make_summary)
    monkeypatch.setattr("losa.pipelines.tracked_training.adapt_all", stand_in.adapt_all)
    return stand_in


@pytest.fixture(scope="session")
def runs(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two side networks of one untrained backbone, `losa-one` and `linear-two`."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    make_run(folder / "losa-one", "losa")
    make_run(folder / "linear-two", "linear")
    return folder


@pytest.fixture(scope="session")
def paint_photo() -> Callable[..., Path]:
    """``paint_photo(path, seed)``: a small photo with random colours."""
    import numpy as np
    from PIL import Image

    def paint(path: Path, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")
        return path

    return paint
