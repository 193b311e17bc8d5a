"""What all tests share."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jaxtyping
import pytest

import shape_checks

# Before anything imports torch. The workers of pytest-xdist share the cores: threads that wait for each other
# would make small matrix products a hundred times slower. Programs that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

jaxtyping.jaxtyped = shape_checks.check_where_shapes_are

if TYPE_CHECKING:
    from losa.adapt import AdaptConfig, MemberSummary
    from losa.cache_format import LabelColumn
    from losa.cache_format.sites import SiteSelection
    from losa.extract import BackboneConfig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first: begun last, one would keep a single core busy while the others are idle."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave modules and tests, millions of objects that stay to the end, out of every garbage collection.

    To look through them again and again took up to half of a test's time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_device() -> Iterator[None]:
    # Ten thousand fsyncs take much time on a busy disk, and no test cuts the power. What matters is when they
    # are called: tests of the cache format record it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def shapes_are_not_checked() -> Iterator[None]:
    """For tests of whole trainings, extractions and commands: the tests of the parts check shapes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def sizes_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of whole trainings: a batch is computed at once, and memory holds all members.

    That is what comes of measuring tiny trainings, but measuring takes several times as long as they do.
    `tests/adapt/training/test_working_set.py` tests it, and sweeps on Ray measure.
    """
    size = "losa.adapt.training.trainer.choose_micro_batch_size"
    monkeypatch.setattr(size, lambda step, images, device: images)
    monkeypatch.setattr("losa.adapt.training.trainer.largest_that_fits", lambda step, images, device: images)
    monkeypatch.setattr("losa.adapt.members.passes.members_at_once", lambda *_: 1000)


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


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
def command() -> Callable[..., Finished]:
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


_FORKING = """
import gc, json, os, signal, sys
import timm, torch

gc.freeze()
for line in sys.stdin:
    child = os.fork()
    if not child:
        signal.alarm(600)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
program, sys.argv[1:], folder, *outputs = json.loads(line)
for number, path in enumerate(outputs, start=1):
    os.dup2(os.open(path, os.O_WRONLY), number)
os.chdir(folder)
exec(program, {"__name__": "__main__"})
"""


@pytest.fixture(scope="session")
def run_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Finished]]:
    """``run_alone(program, *arguments)``: run a program in a process of its own; a warning is an error.

    It is the copy of a process that has done nothing but import torch and timm, which takes seconds. It is
    ended after ten minutes.
    """
    outputs = [tmp_path_factory.mktemp("alone") / name for name in ("stdout", "stderr")]
    command, pipe = [sys.executable, "-P", "-W", "error", "-c", _FORKING], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as forking:
        assert forking.stdin is not None
        assert forking.stdout is not None

        def run(program: str, *arguments: str, folder: Path | str = ".") -> Finished:
            for path in outputs:
                path.write_text("")
            order = program, arguments, str(Path(folder).absolute()), *map(str, outputs)
            print(json.dumps(order), file=forking.stdin, flush=True)
            returncode = int(forking.stdout.readline())
            return Finished(returncode, *(path.read_text() for path in outputs))

        yield run


class RayCluster:
    """A Ray cluster on this machine: a head without cores, and two nodes of one core."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "num_cpus": 0})
        self._nodes: list[Any] = []
        self.complete()

    @property
    def address(self) -> str:
        """Its address, for ``engine.address``."""
        address: str = self._cluster.address
        return address

    def complete(self) -> None:
        """Start the nodes that are missing."""
        while len(self._nodes) < 2:
            self._nodes.append(self._cluster.add_node(num_cpus=1, **_NODE))

    def kill_a_node(self) -> None:
        """Kill all processes of a node, as a power failure does."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)

    def shutdown(self) -> None:
        """End it."""
        self._cluster.shutdown()


_NODE = {"include_dashboard": False, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="session")
def _ray_cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="needs Ray: pip install 'losa[ray]'")
    from losa.cache_format.engines.ray_cluster import import_ray

    import_ray()  # as a command does it, before processes are started that inherit the environment
    cluster = RayCluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def ray_cluster(_ray_cluster: RayCluster) -> RayCluster:
    """A Ray cluster of two nodes, one of which may be killed."""
    _ray_cluster.complete()
    return _ray_cluster


@pytest.fixture(scope="session")
def make_summary() -> Callable[..., MemberSummary]:
    """``make_summary(config, **changes)``: the summary of a member that was never trained."""
    from losa.adapt import AdaptConfig, MemberSummary
    from losa.adapt.members.summary import SharedPass

    def make(config: AdaptConfig | None = None, **changes: Any) -> MemberSummary:
        config = config or AdaptConfig(cache="cache")
        summary = MemberSummary(
            member=config.member_id,
            name=config.member_name,
            status="finished",
            side=config.side,
            rank=config.effective_rank,
            lr=config.lr,
            seed=config.seed,
            accuracy=dict.fromkeys(config.eval_splits, 0.5),
            scores={},
            train_loss=0.5,
            epochs=config.epochs,
            best_epoch=None,
            best_val_accuracy=None,
            parameters=1234,
            head_parameters=34,
            seconds=1.25,
            train_seconds=1.0,
            shared_pass=SharedPass(members=1, seconds=1.25),
            images={},
            sites=["block.00"],
            device="cpu",
            residency="stream",
            options=asdict(config),
            cache={"path": config.cache},
            folder=config.member_name,
        )
        return replace(summary, **changes)

    return make


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

    pet = LabelColumn(name="pet", num_classes=3, classes=("cat", "dog", "fish"))

    def make(
        folder: Path,
        side: str = "losa",
        *,
        columns: Sequence[LabelColumn] = (pet,),
        backbone: BackboneConfig | None = None,
        sites: SiteSelection = 2,
        grid: tuple[int, int] | None = None,
        **preprocessing: Any,
    ) -> Path:
        sampling = preprocessing.get("sampling")
        frames = 1 if sampling is None else sampling.frames
        frozen = load_backbone(backbone or BackboneConfig(name="test_vit", pretrained=False), grid, frames)
        group = frozen.group(sites)
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
            mixing=None if frames == 1 else "factorised",
        )
        classes = sum(column.num_classes for column in columns)
        network = make_side_network(architecture, features, classes, [0])
        with torch.no_grad():
            for number, (name, parameter) in enumerate(network.named_parameters()):
                if name.startswith("head."):
                    parameter.normal_(generator=torch.Generator().manual_seed(len(folder.name) + number))
        identity = FeatureIdentity(
            backbone=frozen.identity,
            preprocessing=replace(frozen.preprocessing, **preprocessing),
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
def film() -> Callable[..., Path]:
    """``film(path, frames=12, ...)``: a video whose frame ``i`` is grey of level ``16 * i + seed``.

    The right half of its lower half is black, so that it has one upright position.
    """
    from fractions import Fraction

    import av
    import numpy as np

    def film(
        path: Path,
        frames: int = 12,
        *,
        seed: int = 0,
        size: tuple[int, int] = (48, 32),
        codec: str = "libx264",
        rate: int = 10,
        milliseconds: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
        between: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.max_b_frames = between
            if milliseconds is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number in range(frames):
                pixels = np.full((size[1], size[0], 3), 16 * number + seed, np.uint8)
                pixels[size[1] // 2 :, size[0] // 2 :] = 0
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                if milliseconds is not None:
                    frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return film
