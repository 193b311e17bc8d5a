import shutil
from pathlib import Path

import pytest

from losa.adapt import load_side_network
from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format import LosaError
from losa.pipelines.classifier.side_network_folders import find_side_networks
from losa.pipelines.export.side_network_files import write_side_networks

NAMES = [DESCRIPTION_NAME, TENSORS_NAME]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_single_side_network_lies_at_the_top(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "new/folder"
    assert write_side_networks(folder, {"probe": runs["probe"]}, "folder")
    assert files(folder) == ["README.md", *NAMES]
    for name in NAMES:
        assert (folder / name).read_bytes() == (runs["probe"] / name).read_bytes()
    assert list(find_side_networks([folder])) == ["folder"]


def test_several_lie_in_folders_with_their_names(runs: dict[str, Path], tmp_path: Path) -> None:
    write_side_networks(tmp_path, {"a": runs["probe"], "b/c": runs["relay"]}, "folder")
    assert files(tmp_path) == [
        "README.md",
        *[f"{folder}/{name}" for folder in ("a", "b/c") for name in NAMES],
    ]
    assert load_side_network(tmp_path / "b/c").network.architecture.side == "relay"


def test_a_model_card_is_kept(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("license: mit")
    assert not write_side_networks(tmp_path, runs, "folder")
    assert (tmp_path / "README.md").read_text() == "license: mit"


def test_exporting_again_is_allowed_beside_others_it_is_not(runs: dict[str, Path], tmp_path: Path) -> None:
    write_side_networks(tmp_path, runs, "folder")
    write_side_networks(tmp_path, runs, "folder")
    with pytest.raises(LosaError, match=r"holds other side networks already, such as .*relay"):
        write_side_networks(tmp_path, {"probe": runs["probe"], "new": runs["relay"]}, "folder")


@pytest.mark.parametrize("name", NAMES)
def test_another_side_network_is_not_replaced(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """Nor is a file of another program that has the same name."""
    for content in ((runs["relay"] / name).read_bytes(), b"mine"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LosaError, match=f"{name}: there is another file of this name"):
            write_side_networks(tmp_path, {"probe": runs["probe"]}, "folder")
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, content)]


def test_the_folder_of_a_member_is_no_place_for_an_export(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(LosaError, match="of a side network that losa-adapt trained"):
        write_side_networks(tmp_path, {"probe": runs["probe"]}, "folder")
    assert files(tmp_path) == ["summary.json"]


def test_a_damaged_side_network_is_not_published(runs: dict[str, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(runs["relay"], damaged)
    (damaged / TENSORS_NAME).write_bytes((damaged / TENSORS_NAME).read_bytes()[:-1])
    with pytest.raises(LosaError, match="is damaged"):
        write_side_networks(tmp_path / "out", {"probe": runs["probe"], "relay": damaged}, "folder")
    assert not (tmp_path / "out").exists()
