"""The Hugging Face hub, or the copies on this machine if it does not answer."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # lazily exported

from losa.extract.causes import short_cause

_log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds in which the hub has to answer one of several requests."""
PAUSE = 1.0
"""Seconds between two of them."""


@contextmanager
def hub_or_copies() -> Iterator[None]:
    """A context in which huggingface_hub does not wait for a hub that cannot be reached.

    It would try again for half a minute for each file that is not on this machine. Once the hub has answered,
    whatever the answer, it retries as it always does. Otherwise, which is told, it is in its offline mode
    within the context.
    """
    unreachable = None if constants.HF_HUB_OFFLINE else _unreachable()
    if unreachable is None:
        yield
        return
    _log.warning(
        "%s does not answer (%s): only copies on this machine are used",
        constants.ENDPOINT,
        short_cause(unreachable),
    )
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _unreachable() -> Exception | None:
    """Why the hub cannot be reached; None if it answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            # Its own session, which goes through the proxy and trusts the certificates that it is told to.
            get_session().head(constants.ENDPOINT, timeout=max(end - time.monotonic(), PAUSE))
        except Exception as error:  # of the network; their classes depend on the version of huggingface_hub
            if time.monotonic() + PAUSE > end:
                return error
            time.sleep(PAUSE)
        else:
            return None
