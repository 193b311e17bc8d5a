"""The Ray cluster of a command: the connection to it, and what its machines have for workers."""

import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from losa.cache_format.common.units import counted
from losa.cache_format.engines.config import EngineConfig
from losa.cache_format.errors import LosaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """How many workers there are, and what each of them has."""

    count: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        each = " each" if self.count > 1 else ""
        shares = ([f"{self.gpus:g} GPU"] if self.gpus else []) + [f"{self.cpus} CPU"]
        return f"{self.count} worker{'s' * (self.count > 1)} with {' and '.join(shares)}{each}"


def import_ray() -> ModuleType:
    """The module of Ray.

    Raises:
        LosaError: it is not installed.
    """
    # Where a cluster is started, nothing is told to others unless the user says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers without a GPU keep the environment that they find, which is Ray's own default for the future.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise LosaError("engine=ray needs Ray: pip install 'losa[ray]', on every machine") from None
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A context with a connection to a cluster. One that is there already is used, and left.

    Args:
        address: address of a running cluster; ``auto``: the one that runs on this machine; None: a cluster of
            this machine alone, which ends with the context.

    Raises:
        LosaError: there is no such cluster, or it cannot be used.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    with _own_signal_handlers():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            first = str(error).strip().splitlines()[0]
            raise LosaError(
                f"engine.address={address or 'null'}: {first}\nExpected a running Ray cluster (ray start "
                "--head on its first machine); engine.address=null starts one on this machine"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """A context after which signals are handled as before: Ray has a handler of its own for SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def choose_workers(
    config: EngineConfig, devices: Collection[str], nodes: Sequence[Mapping[str, float]]
) -> Workers:
    """How many workers a cluster has room for, and what each of them gets.

    Workers have one GPU each if there are GPUs and a task may use one; else each machine has one worker, with
    as many cores as the smallest machine has.

    Args:
        config: the options, which may say otherwise.
        devices: the values of the option ``device`` of all tasks.
        nodes: the resources of each machine, as Ray names them.

    Raises:
        LosaError: no machine has what a worker needs, or there is no GPU for ``device=cuda``.
    """
    gpus = config.gpus
    if gpus is None:
        may_use = any(device != "cpu" for device in devices)
        gpus = 1.0 if may_use and any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    able = [node for node in nodes if node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= (config.cpus or 1)]
    if not able:
        needed = f"{config.cpus or 1} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        raise LosaError(
            f"engine=ray: a worker needs {needed}, but no machine of the cluster has as many "
            f"({_described(nodes)}): use a smaller engine.cpus=... or engine.gpus=..."
        )
    cpus = config.cpus or int(min(_share(node, gpus) for node in able))
    room = sum(_room(node, cpus, gpus) for node in able)
    if config.workers is not None and config.workers > room:
        raise LosaError(
            f"engine.workers={config.workers}: the cluster has room for "
            f"{counted(room, 'worker', 'workers')} with {cpus} CPU"
            + (f" and {gpus:g} GPU" if gpus else "")
            + f" each ({_described(nodes)}): use fewer, or a smaller engine.cpus=... or engine.gpus=..."
        )
    return Workers(count=config.workers or room, cpus=cpus, gpus=gpus)


def _share(node: Mapping[str, float], gpus: float) -> float:
    """Cores for each worker of a machine that has as many workers as its GPUs allow."""
    return max(1, node["CPU"] // (node["GPU"] // gpus)) if gpus else node["CPU"]


def _room(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    by_cpu = node["CPU"] // cpus
    return int(min(by_cpu, node["GPU"] // gpus) if gpus else by_cpu)


def _described(nodes: Sequence[Mapping[str, float]]) -> str:
    """The resources of the machines, those of equal ones once."""
    texts = [f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes]
    return "; ".join(f"{texts.count(text)} x {text}" for text in dict.fromkeys(texts)) or "no machine"
