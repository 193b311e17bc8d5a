from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.classifier.hub import HubPlace
from losa.pipelines.export.destination import FolderPath, ModelPath, destination


def test_a_suffix_means_a_model_and_a_slash_a_folder(tmp_path: Path) -> None:
    assert destination(f"{tmp_path}/a.onnx") == ModelPath(tmp_path / "a.onnx")
    assert destination(f"{tmp_path}/a.pt2") == ModelPath(tmp_path / "a.pt2")
    assert destination(f"{tmp_path}/a/") == FolderPath(tmp_path / "a")
    assert destination(f"{tmp_path}/a.onnx/") == FolderPath(tmp_path / "a.onnx")
    assert destination(str(tmp_path)) == FolderPath(tmp_path)
    assert destination("hf-hub:me/birds") == HubPlace("me/birds", None)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (
            "model.bin",
            r"expected <file>\.pt2 or <file>\.onnx for a model, <folder>/ .* or hf-hub:<owner>/<name>",
        ),
        ("model", r"expected <file>\.pt2"),
        ("none/a.onnx", "there is no folder none: create it first"),
        ("folder.onnx", "expected the name of a file, found a folder"),
        ("file/", "expected a folder, found a file"),
        ("hf-hub:birds", "expected hf-hub:<owner>/<name>"),
        ("hf-hub:me/birds@v1", "published on the main branch; leave out @v1"),
    ],
)
def test_anything_else_is_refused(
    to: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    Path("file").touch()
    with pytest.raises(LosaError, match=message):
        destination(to)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a.onnx": "mine"}, r"a\.onnx: expected no file or a model with its description, a\.onnx\.json"),
        ({"a.onnx.json": "{}"}, r"a\.onnx\.json: expected no file or the description of an exported model"),
        ({"a.onnx": "model", "a.onnx.json": '{"format": "losa-export"}'}, None),
    ],
)
def test_files_of_another_program_are_not_replaced(
    found: dict[str, str], message: str | None, tmp_path: Path
) -> None:
    for name, content in found.items():
        (tmp_path / name).write_text(content)
    to = f"{tmp_path}/a.onnx"
    if message is None:
        assert destination(to) == ModelPath(tmp_path / "a.onnx")
        return
    with pytest.raises(LosaError, match=message):
        destination(to)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == found
