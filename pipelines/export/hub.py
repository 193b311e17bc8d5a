"""Publishes side networks on the Hugging Face hub."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from losa.cache_format import LosaError
from losa.pipelines.classifier.hub import FILE_PATTERNS, HubPlace, hub_cause
from losa.pipelines.export.side_network_files import CARD, write_side_networks


def publish_side_networks(place: HubPlace, sources: Mapping[str, Path], *, private: bool) -> str:
    """Upload side networks and a model card, in place of those that the repository had.

    A model card that the repository has is kept, because its licence and text are its owner's.

    Args:
        place: the repository; a new one is created if there is none.
        sources: name -> folder of each side network.
        private: whether only its owner can read it.

    Returns:
        The address of the commit.

    Raises:
        LosaError: a side network is damaged, the repository is public though ``private`` is asked for, or the
            hub refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="losa-export-") as temporary:
        write_side_networks(Path(temporary), sources, str(place))
        try:
            return _upload(HfApi(), place, temporary, private)
        except LosaError:
            raise
        except Exception as error:  # errors of the network and of the hub
            raise LosaError(f"to={place}: not published: {hub_cause(error)}") from error


def _upload(api: HfApi, place: HubPlace, folder: str, private: bool) -> str:
    repository = place.repository
    try:
        existing = api.repo_info(repository)
    except RepositoryNotFoundError:
        existing = None
    if existing is None:
        api.create_repo(repository, private=private)
    elif private and not existing.private:
        raise LosaError(f"to={place}: everybody can read this repository; private=false publishes there")
    has_card = existing is not None and api.file_exists(repository, CARD)
    commit = api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        commit_message="Side networks, exported by losa",
        ignore_patterns=[CARD] if has_card else None,
        delete_patterns=FILE_PATTERNS,
    )
    return str(commit.commit_url)
