import importlib.util
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from losa.cache_format import LosaError
from losa.pipelines.serve.job import listen

Command = Callable[..., Any]


def test_it_serves_until_it_is_interrupted(
    command: Command, runs: Path, tmp_path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of uvicorn's loop: what it is given answers, and a Ctrl-C ends it."""
    found = {}

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        from starlette.testclient import TestClient

        found["address"] = sockets[0].getsockname()
        browser = TestClient(server.config.app, base_url="http://127.0.0.1")
        found["answer"] = browser.post("/predict", content=photo).json()
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    finished = command(tmp_path, "losa-serve", str(runs), "port=0", "top=1", "device=cpu")
    assert finished.returncode == 0, finished.stderr
    host, port = found["address"]
    assert (host, len(found["answer"]["predictions"])) == ("127.0.0.1", 2)
    assert finished.stderr == (
        f"2 side networks of test_vit on http://127.0.0.1:{port} (Ctrl-C stops)\nstopped\n"
    )


def test_an_ensemble_is_served_as_one(
    command: Command, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: None)
    finished = command(tmp_path, "losa-serve", str(runs), "ensemble=true", "port=0", "device=cpu")
    assert finished.stderr.startswith("ensemble of 2 side networks of test_vit on http://127.0.0.1:")


def test_an_open_address_is_said_plainly(
    command: Command, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: None)
    finished = command(tmp_path, "losa-serve", str(runs), "port=0", "host=0.0.0.0", "device=cpu")
    assert "host=0.0.0.0: whoever reaches this machine over the network can send photos" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one or more side networks: losa-serve runs/sweep"),
        (["nowhere"], "nowhere: expected the folder of a side network"),
        (["RUNS", "backbone.seed=4"], "not the backbone that the side networks were trained on"),
        (["RUNS", "port=70000"], "port=70000: input should be less than or equal to 65535"),
        (["RUNS", "prt=1"], "did you mean 'port'?"),
        (["RUNS", "host=203.0.113.1"], "host=203.0.113.1 port=0: cannot listen there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_told(
    command: Command, runs: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [str(runs) if argument == "RUNS" else argument for argument in arguments]
    port = [] if any("port" in argument for argument in arguments) else ["port=0"]
    finished = command(tmp_path, "losa-serve", *given, *port)
    assert finished.returncode == 1
    assert message in finished.stderr
    assert not list(tmp_path.iterdir())


def test_a_taken_port_is_told() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LosaError, match=rf"host=127\.0\.0\.1 port={port}: cannot listen there .*port=0"):
            listen("127.0.0.1", port)


def test_missing_packages_are_told(
    command: Command, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else found(name, *rest)
    )
    finished = command(tmp_path, "losa-serve", str(runs))
    assert finished.returncode == 1
    assert "losa-serve needs uvicorn, which is not installed: pip install 'losa[serve]'" in finished.stderr
