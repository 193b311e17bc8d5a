from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError

from losa.cache_format import LosaError
from losa.pipelines.classifier.hub import HubPlace
from losa.pipelines.export.hub import publish_side_networks

PLACE = HubPlace("me/birds", None)


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "http://hub"))


@dataclass
class FakeHub:
    """Stands in for `HfApi`: one repository, or none."""

    repository: Any = None
    has_card: bool = False
    error: Exception | None = None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    uploaded: dict[str, bytes] = field(default_factory=dict)

    def repo_info(self, name: str) -> Any:
        if self.repository is None:
            raise RepositoryNotFoundError("404", response=response(404))
        return self.repository

    def create_repo(self, name: str, *, private: bool) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(("create_repo", {"name": name, "private": private}))

    def file_exists(self, name: str, file: str) -> bool:
        return self.has_card

    def upload_folder(self, *, folder_path: str, **options: Any) -> Any:
        self.calls.append(("upload_folder", options))
        root = Path(folder_path)
        self.uploaded = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        return SimpleNamespace(commit_url="https://hub/me/birds/commit/1")


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeHub], FakeHub]:
    def use(hub: FakeHub) -> FakeHub:
        monkeypatch.setattr("losa.pipelines.export.hub.HfApi", lambda: hub)
        return hub

    return use


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository_gets_everything_in_one_commit(
    private: bool, use_hub: Callable[[FakeHub], FakeHub], runs: dict[str, Path]
) -> None:
    hub = use_hub(FakeHub())
    assert publish_side_networks(PLACE, runs, private=private).endswith("commit/1")
    (_, created), (_, upload) = hub.calls
    assert created == {"name": "me/birds", "private": private}
    assert upload["repo_id"] == "me/birds"
    assert upload["ignore_patterns"] is None
    assert 'load("hf-hub:me/birds")' in hub.uploaded.pop("README.md").decode()
    assert hub.uploaded == {
        f"{name}/{path.name}": path.read_bytes()
        for name, folder in runs.items()
        for path in folder.glob("side_network.*")
    }


def test_an_existing_repository_keeps_its_card_and_loses_its_side_networks(
    use_hub: Callable[[FakeHub], FakeHub], runs: dict[str, Path]
) -> None:
    hub = use_hub(FakeHub(SimpleNamespace(private=True), has_card=True))
    publish_side_networks(PLACE, runs, private=True)
    ((name, upload),) = hub.calls
    assert name == "upload_folder"
    assert upload["ignore_patterns"] == ["README.md"]
    assert "*/side_network.json" in upload["delete_patterns"]


def test_a_public_repository_is_written_to_only_if_asked_for(
    use_hub: Callable[[FakeHub], FakeHub], runs: dict[str, Path]
) -> None:
    hub = use_hub(FakeHub(SimpleNamespace(private=False)))
    with pytest.raises(LosaError, match="hf-hub:me/birds: everybody can read this repository; private=false"):
        publish_side_networks(PLACE, runs, private=True)
    assert hub.calls == []
    publish_side_networks(PLACE, runs, private=False)
    assert [name for name, _ in hub.calls] == ["upload_folder"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            LocalTokenNotFoundError("none"),
            "no token for the hub: log in with `hf auth login`, or set HF_TOKEN",
        ),
        (HfHubHTTPError("403", response=response(403)), "does not give the right"),
        (httpx2.ConnectError("no network"), "the hub cannot be reached: ConnectError: no network"),
    ],
)
def test_what_the_hub_refuses_is_told(
    error: Exception, message: str, use_hub: Callable[[FakeHub], FakeHub], runs: dict[str, Path]
) -> None:
    use_hub(FakeHub(error=error))
    with pytest.raises(LosaError, match=f"to=hf-hub:me/birds: not published: .*{message}"):
        publish_side_networks(PLACE, runs, private=True)
