"""What a cluster has room for, and clusters that are not there."""

import signal
import sys
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.cache_format.engines import EngineConfig, make_engine
from losa.cache_format.engines.ray_cluster import Workers, choose_workers, connected

BIG, SMALL, GPUS = {"CPU": 16.0}, {"CPU": 4.0}, {"CPU": 16.0, "GPU": 8.0}


def chosen(*nodes: dict[str, float], devices: tuple[str, ...] = ("auto",), **options: Any) -> tuple[Any, ...]:
    workers = choose_workers(EngineConfig(kind="ray", **options), devices, nodes)
    return workers.count, workers.cpus, workers.gpus


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (chosen(BIG), (1, 16, 0)),
        (chosen(BIG, SMALL), (5, 4, 0)),
        (chosen({}, BIG, BIG), (2, 16, 0)),
        (chosen(BIG, cpus=4), (4, 4, 0)),
        (chosen(BIG, cpus=4, workers=3), (3, 4, 0)),
        (chosen(GPUS, GPUS, BIG), (16, 2, 1)),
        (chosen(GPUS, devices=("cpu", "cpu")), (1, 16, 0)),
        (chosen(GPUS, gpus=0), (1, 16, 0)),
        (chosen(GPUS, gpus=0.5), (16, 1, 0.5)),
        (chosen(GPUS, gpus=2), (4, 4, 2)),
        (chosen({"CPU": 2.0, "GPU": 8.0}), (2, 1, 1)),
        (chosen(BIG, devices=("cuda",)), (1, 16, 0)),
    ],
)
def test_workers_share_the_machines(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 32}, r"a worker needs 32 CPU, but no machine .*\(2 x 16 CPU, 0 GPU\)"),
        ({"gpus": 1}, "a worker needs 1 CPU and 1 GPU"),
        ({"workers": 3}, r"engine.workers=3: the cluster has room for 2 workers with 16 CPU each \(2 x 16"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LosaError, match=message):
        chosen(BIG, BIG, **options)


def test_workers_are_described() -> None:
    assert str(Workers(count=1, cpus=2, gpus=0)) == "1 worker with 2 CPU"
    assert str(Workers(count=4, cpus=2, gpus=0.5)) == "4 workers with 0.5 GPU and 2 CPU each"


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[ray\]'"):
        make_engine(EngineConfig(kind="ray"), [])


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:9"])
def test_there_is_no_cluster(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def nobody(address: str, **_: Any) -> None:
        raise ConnectionError(f"Could not find any running Ray instance at {address}.\nMore.")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(LosaError) as caught, connected(address):
        pass
    assert str(caught.value).startswith(f"engine.address={address}: Could not find any running Ray instance")
    assert "engine.address=null starts one on this machine" in str(caught.value)


def test_connecting_leaves_signals_and_a_connection_alone(ray_cluster: Any) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    with connected(ray_cluster.address):
        assert signal.getsignal(signal.SIGTERM) is before
        with connected("auto"):
            assert ray.is_initialized()
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_workers_without_a_gpu_do_not_get_one(ray_cluster: Any) -> None:
    engine = make_engine(EngineConfig(kind="ray", address=ray_cluster.address), ["cuda"])
    with engine, pytest.raises(LosaError, match="device=cuda: workers have no GPU"):
        engine.resolve_device("cuda")
    with engine, pytest.raises(LosaError, match="expected auto, cpu or cuda"):
        engine.resolve_device("cuda:1")
