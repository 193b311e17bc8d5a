from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from losa.cache_format import LosaError
from losa.pipelines.classifier.hub import FILE_PATTERNS, HubPlace, hub_place
from losa.pipelines.classifier.side_network_folders import find_side_networks, holds_side_networks


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "http://hub"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks whether the hub answers."""
    monkeypatch.setattr("losa.pipelines.classifier.hub.hub_or_copies", nullcontext)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """Repositories and revisions that were asked for; ``tmp_path`` holds the files of each."""
    found: list[tuple[str, str | None]] = []

    def snapshot_download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert allow_patterns == FILE_PATTERNS
        found.append((repository, revision))
        return str(tmp_path)

    monkeypatch.setattr("losa.pipelines.classifier.hub.snapshot_download", snapshot_download)
    return found


def describe(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "side_network.json").touch()


def test_a_repository_is_fetched_at_its_revision(asked: list[Any], tmp_path: Path) -> None:
    describe(tmp_path)
    assert find_side_networks(["hf-hub:me/birds@v1"]) == {"birds@v1": tmp_path}
    assert holds_side_networks("hf-hub:me/birds")
    assert asked == [("me/birds", "v1"), ("me/birds", None)]


def test_side_networks_of_a_repository_are_named_by_their_folders(asked: list[Any], tmp_path: Path) -> None:
    describe(tmp_path / "losa", tmp_path / "last")
    assert list(find_side_networks(["hf-hub:me/birds"])) == ["last", "losa"]


def test_a_repository_without_side_networks_is_told(asked: list[Any]) -> None:
    with pytest.raises(LosaError, match=r"hf-hub:me/empty: expected .*; the repository has none"):
        find_side_networks(["hf-hub:me/empty"])


@pytest.mark.parametrize("name", ["birds", "me/birds/more", "me/birds@", "/birds", "me/", "me/../x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(LosaError, match="expected hf-hub:<owner>/<name> or hf-hub:<owner>/<name>@<revision>"):
        hub_place(f"hf-hub:{name}")


def test_only_files_of_side_networks_are_fetched() -> None:
    def taken(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in FILE_PATTERNS)

    assert all(map(taken, ["side_network.json", "a/side_network.safetensors", "a/b/side_network.json"]))
    assert not any(map(taken, ["README.md", "model.safetensors", "a/summary.json", "my_side_network.json"]))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RepositoryNotFoundError("404", response=response(404)), "no such repository, or .* `hf auth login`"),
        (RevisionNotFoundError("404", response=response(404)), "the repository has no such revision"),
        (
            HfHubHTTPError("403", response=response(403)),
            "the token, if there is one, does not give the right",
        ),
        (HfHubHTTPError("500", response=response(500)), "the hub refused: HfHubHTTPError"),
        (httpx2.ConnectError("no network"), "the hub cannot be reached: ConnectError: no network"),
        (LocalEntryNotFoundError("no copy"), "the hub cannot be reached: LocalEntryNotFoundError: no copy"),
        (OfflineModeIsEnabled("offline"), "the hub cannot be reached: OfflineModeIsEnabled: offline"),
        (OSError(28, "No space left on device"), r"me/birds: OSError: \[Errno 28\] No space left on device"),
    ],
)
def test_why_it_cannot_be_fetched_is_told(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(repository: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr("losa.pipelines.classifier.hub.snapshot_download", snapshot_download)
    with pytest.raises(LosaError, match=f"hf-hub:.*{message}"):
        HubPlace("me/birds", None).fetch()
