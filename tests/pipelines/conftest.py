"""Commands as a user types them, and a small cache made by one."""

import contextlib
import dataclasses
import io
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from losa.adapt import AdaptConfig, Job, MemberSummary


@pytest.fixture(scope="module", autouse=True)
def _whole_commands(shapes_are_not_checked: None) -> None:
    pass


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Finished]


@contextlib.contextmanager
def _at_the_prompt(folder: Path, arguments: list[str]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    argv, handlers, before = sys.argv, logging.getLogger().handlers[:], Path.cwd()
    sys.argv = arguments
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as error,
        ):
            yield out, error
    finally:
        sys.argv = argv
        os.chdir(before)
        for handler in logging.getLogger().handlers:
            if handler not in handlers:
                handler.close()
        logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="session")
def command() -> Command:
    """``command(folder, name, *arguments)``: run a command in a folder, within this process."""

    def run(folder: Path, name: str, *arguments: str) -> Finished:
        (entry,) = entry_points(group="console_scripts", name=name)
        main = entry.load()
        with _at_the_prompt(folder, [name, *arguments]) as (out, error):
            code: object = 0
            try:
                main()
            except SystemExit as stop:
                code = stop.code
            if isinstance(code, str):  # as the interpreter does at its end
                print(code, file=error)
                code = 1
        return Finished(int(str(code or 0)), out.getvalue(), error.getvalue())

    return run


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
    return (config.rank + config.seed) / 100


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

    def adapt_all(self, jobs: Sequence[Job]) -> list[MemberSummary | Exception]:
        self.passes.append(list(jobs))
        return [self._outcome(job) for job in jobs]

    def adapt(self, config: AdaptConfig, folder: Path) -> MemberSummary:
        self.passes.append([Job(config, folder)])
        outcome = self._outcome(Job(config, folder))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

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
            rank=config.rank,
            parameters=100 * config.rank,
            accuracy=dict.fromkeys(config.eval_splits, self.score(config)),
            folder=str(job.folder),
        )
        path.write_text(json.dumps(summary.to_json()))
        return summary


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, make_summary: Callable[..., MemberSummary]) -> Training:
    """Commands train nothing; the members they would have trained are recorded."""
    stand_in = Training(make_summary=make_summary)
    monkeypatch.setattr("losa.pipelines.fused_launcher.adapt_all", stand_in.adapt_all)
    monkeypatch.setattr("losa.pipelines.selection.adapt_all", stand_in.adapt_all)
    monkeypatch.setattr("losa.pipelines.outcomes.adapt", stand_in.adapt)
    return stand_in


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """``make_run(folder, side, **changes)``: the folder of a side network, as training leaves it.

    Its parameters are those at the start but for the head, which is random.
    """
    # Here, because torch is imported slowly, and few tests need it.
    import torch

    from losa.adapt import FeatureSpec, make_side_network, save_side_network
    from losa.adapt.architecture import Architecture
    from losa.cache_format import LabelColumn
    from losa.cache_format.identity import FeatureIdentity
    from losa.extract import BackboneConfig, load_backbone

    def make(
        folder: Path,
        side: str = "losa",
        *,
        columns: Sequence[LabelColumn] = (LabelColumn(name="pet", num_classes=3, classes=("cat", "dog", "fish")),),
        backbone: BackboneConfig | None = None,
        **preprocessing: Any,
    ) -> Path:
        frozen = load_backbone(backbone or BackboneConfig(name="test_vit", pretrained=False))
        group = frozen.group(2)
        features = FeatureSpec(
            sites=group.sites,
            tokens=group.tokens,
            width=group.width,
            final_norm=frozen.final_norm,
            constants=frozen.final_norm_constants,
        )
        architecture = Architecture(
            side=side,
            rank=4,
            heads=2,
            order="channel_token",
            norm="frozen",
            pool="mean",
            bias=False,
            start="last",
        )
        classes = sum(column.num_classes for column in columns)
        network = make_side_network(architecture, features, classes, [0])
        with torch.no_grad():
            for number, (name, parameter) in enumerate(network.named_parameters()):
                if name.startswith("head."):
                    parameter.normal_(generator=torch.Generator().manual_seed(len(folder.name) + number))
        identity = FeatureIdentity(
            backbone=frozen.identity,
            preprocessing=dataclasses.replace(frozen.preprocessing, **preprocessing),
            site_groups=(group,),
            compute_dtype="float32",
            codec="float32",
            final_norm=frozen.final_norm,
            constants={},
        )
        folder.mkdir(parents=True)
        save_side_network(folder, network, 0, identity, columns, frozen.origin)
        return folder

    return make


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
