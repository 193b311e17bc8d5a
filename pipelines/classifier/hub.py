"""Side networks on the Hugging Face hub, named as backbones are: ``hf-hub:<owner>/<name>[@<revision>]``."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format import LosaError
from losa.extract.backbone_names import HUB
from losa.extract.causes import short_cause
from losa.extract.hub import hub_or_copies

FILE_PATTERNS = [f"{folder}{name}" for folder in ("", "*/") for name in (DESCRIPTION_NAME, TENSORS_NAME)]
"""The files of side networks in a repository, at any depth."""
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_FORBIDDEN = (401, 403)
_NETWORK = ("httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3")
"""Packages that huggingface_hub reaches the hub with, in one version or another."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A repository on the hub, and which of its states is meant."""

    repository: str
    """``<owner>/<name>``."""
    revision: str | None
    """Branch, tag or commit; None for the main branch."""

    def __str__(self) -> str:
        """As it is typed."""
        return HUB + self.repository + (f"@{self.revision}" if self.revision else "")

    def fetch(self) -> Path:
        """The folder of a copy on this machine with the files of side networks, and no others.

        Raises:
            LosaError: there is no such repository or revision, no right to read it, or no way to it.
        """
        try:
            with hub_or_copies():
                folder = snapshot_download(
                    self.repository, revision=self.revision, allow_patterns=FILE_PATTERNS
                )
            return Path(folder)
        except Exception as error:  # errors of the network, of the hub, of the disk
            raise LosaError(f"{self}: {hub_cause(error)}") from error


def is_on_hub(place: str) -> bool:
    """Whether a place is one on the hub."""
    return place.startswith(HUB)


def hub_place(place: str) -> HubPlace:
    """Read the name of a place on the hub.

    >>> hub_place("hf-hub:me/birds@v1")
    HubPlace(repository='me/birds', revision='v1')

    Raises:
        LosaError: it is not in the form of such names.
    """
    repository, at, revision = place.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or bool(at) != bool(revision):
        raise LosaError(f"{place}: expected {HUB}<owner>/<name> or {HUB}<owner>/<name>@<revision>")
    return HubPlace(repository, revision or None)


def hub_cause(error: Exception) -> str:
    """Why something on the hub did not work, and what to do about it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, LocalTokenNotFoundError):
        return f"this machine has no token for the hub: {_LOGIN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository, or it cannot be read without the right token: {_LOGIN}"
    if isinstance(error, HFValidationError):
        return f"the hub takes no such name: {short_cause(error)}"
    if isinstance(error, HfHubHTTPError) and status in _FORBIDDEN:
        return (
            f"the token, if there is one, does not give the right to do this: {_LOGIN} ({short_cause(error)})"
        )
    if isinstance(error, HfHubHTTPError) and status is not None:
        return f"the hub refused: {short_cause(error)}"
    if (
        isinstance(error, ConnectionError | TimeoutError | LocalEntryNotFoundError)
        or type(error).__module__.partition(".")[0] in _NETWORK
    ):
        return f"the hub cannot be reached: {short_cause(error)}"
    return short_cause(error)
