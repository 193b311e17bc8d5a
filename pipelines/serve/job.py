"""The job of losa-serve: serves the page until it is interrupted."""

import importlib.util
import ipaddress
import logging
import socket
from collections.abc import Sequence

from omegaconf import DictConfig

from losa.cache_format import LosaError
from losa.pipelines.classifier.model import load
from losa.pipelines.command_line import to_config
from losa.pipelines.places import run_with_places
from losa.pipelines.serve.config import ServeConfig

_log = logging.getLogger(__name__)
_NEEDED = ("starlette", "uvicorn", "python_multipart")
_SECONDS_TO_FINISH = 5
"""For answers that are being computed when the server is stopped."""


def task(composed: DictConfig, places: Sequence[str]) -> None:
    """Load the side networks and serve them."""
    config = to_config(ServeConfig, composed)
    if not places:
        raise LosaError("name one or more side networks: losa-serve runs/sweep")
    _refuse_missing_packages()
    with listen(config.host, config.port) as listener:  # first: the backbone may take minutes
        _serve(config, places, listener)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        LosaError: there is no such address on this machine, or the port is taken or reserved.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise LosaError(
            f"host={host} port={port}: cannot listen there ({error.strerror}): choose another port, or a "
            "free one with port=0"
        ) from None


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0"), is_local("::1")
    (True, True, False, True)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_missing_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LosaError(
            f"losa-serve needs {', '.join(missing)}, which is not installed: pip install 'losa[serve]'"
        )


def _serve(config: ServeConfig, places: Sequence[str], listener: socket.socket) -> None:
    import uvicorn  # an extra

    from losa.pipelines.serve.application import make_application

    classifier = load(
        places,
        ensemble=config.ensemble,
        backbone=config.backbone.name,
        checkpoint=config.backbone.checkpoint,
        pretrained=config.backbone.pretrained,
        seed=config.backbone.seed,
        device=config.device,
        dtype=config.dtype,
        max_pixels=config.max_pixels,
    )
    application = make_application(
        classifier, top=config.top, max_upload=config.max_upload, local=is_local(config.host)
    )
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        )
    )
    name = f"[{config.host}]" if ":" in config.host else config.host
    _log.info(
        "%s of %s on http://%s:%d (Ctrl-C stops)",
        classifier.networks.title,
        classifier.networks.backbone.name,
        name,
        listener.getsockname()[1],
    )
    if not is_local(config.host):
        _log.warning("host=%s: whoever reaches this machine over the network can send photos", config.host)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn passes it on once it has stopped
        _log.info("stopped")


def run() -> None:
    """Run losa-serve as a command."""
    run_with_places("serve", ServeConfig, task)
