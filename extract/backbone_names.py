"""What `backbone.name` means: a model of timm's, of the Hugging Face hub, of a local folder, or our own."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from losa.cache_format.common.suggestions import nearest
from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import local_path
from losa.extract.causes import short_cause

SHIPPED = {"losa_tiny": Path(__file__).with_name("shipped") / "losa_tiny"}
"""Backbones of our own that ship with losa -> their folders, in timm's form; see docs/losa-tiny.md."""
HUB = "hf-hub:"
FOLDER = "local-dir:"
ADVICE = (
    "Name a file with backbone.checkpoint=<file>, or request random weights with backbone.pretrained=false"
)
_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Names that timm gives to files of weights, the preferred one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBackbone:
    """The model that a name means."""

    name: str
    """Name in the identity, without a revision, and the architecture's for a local folder: weights are
    identified by their hash."""
    timm_name: str
    """Name for `timm.create_model`; with the commit of a model on the hub, so that all files are of one."""
    architecture: str
    """timm's name of the architecture."""
    arguments: dict[str, Any]
    """Arguments with which the model is made, besides those that the architecture has by itself."""
    revision: str | None = None
    """Commit of a model on the hub."""
    file: Callable[[str], Path | None] | None = None
    """Name of a file of the model -> its path, or None if there is none. None: timm has the weights."""
    tag: str | None = None
    """Tag of the weights in the configuration of the model, if it has one."""
    img_size: tuple[int, int] | None = None
    """Height and width of the images that the model takes by default, if its configuration tells them."""

    def weights(self) -> Path | None:
        """The file of weights of a model on the hub or in a folder; None if timm itself finds the weights.

        Raises:
            LosaError: there is none, or the hub cannot be reached.
        """
        if self.file is None:
            return None
        for name in _WEIGHTS:
            path = self.file(name)
            if path is not None:
                return path
        raise LosaError(
            f"backbone.name={self.timm_name}: there is no file of weights, or the hub cannot be reached; "
            f"expected one of {', '.join(_WEIGHTS)}\n{ADVICE}"
        )


def find_backbone(name: str) -> NamedBackbone:
    """Find the model that a name means.

    Args:
        name: timm's name, that of a backbone that ships with losa, ``hf-hub:<owner>/<model>[@<revision>]`` or
            ``local-dir:<folder>``.

    Raises:
        LosaError: there is no such model; or the hub cannot be reached, and no copy of the model is on this
            machine.
    """
    if name.startswith(HUB):
        return _on_hub(name)
    if name.startswith(FOLDER):
        return _in_folder(name)
    if name in SHIPPED:
        return _shipped(name)
    if re.search(r"[:/\\]", name):
        raise LosaError(
            f"backbone.name={name}: expected a name of timm's, {', '.join(SHIPPED)}, "
            f"{HUB}<owner>/<model>[@<revision>] or {FOLDER}<folder>"
        )
    architecture = name.split(".")[0]
    _refuse_unknown(name, architecture, name)
    return NamedBackbone(
        name=name,
        timm_name=name,
        architecture=architecture,
        arguments={},
        img_size=_img_size(_input_size(name)),
    )


def folder_name(name: str) -> str:
    """A backbone's name as part of the name of a folder.

    >>> folder_name("hf-hub:timm/vit_tiny_patch16_224.augreg_in21k@main")
    'timm-vit_tiny_patch16_224.augreg_in21k-main'
    >>> folder_name("local-dir:/data/models/mine")
    'mine'
    >>> folder_name("deit_tiny_patch16_224.fb_in1k")
    'deit_tiny_patch16_224.fb_in1k'
    """
    if name.startswith(FOLDER):
        name = _folder(name).name
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name.removeprefix(HUB)).strip("-")


def _on_hub(name: str) -> NamedBackbone:
    model, _, revision = name.removeprefix(HUB).partition("@")
    try:
        path = Path(hf_hub_download(model, _CONFIG, revision=revision or None))
    except Exception as error:  # errors of the network, of the hub, of the disk, of the name
        raise LosaError(
            f"backbone.name={name}: {_CONFIG} could not be downloaded: {short_cause(error)}\n"
            f"Check the name and the network, or name a folder with {FOLDER}<folder>"
        ) from error
    commit = path.parent.name  # the hub's files lie in snapshots/<commit>/
    return _configured(
        path,
        asked=name,
        name=f"{HUB}{model}",
        timm_name=f"{HUB}{model}@{commit}",
        revision=commit,
        file=partial(_download, model, commit),
    )


def _download(model: str, commit: str, file: str) -> Path | None:
    try:
        return Path(hf_hub_download(model, file, revision=commit))
    except EntryNotFoundError:  # or the hub cannot be reached; another file may be on this machine
        return None
    except Exception as error:
        raise LosaError(
            f"backbone.name={HUB}{model}@{commit}: {file} could not be downloaded: {short_cause(error)}\n"
            f"{ADVICE}"
        ) from error


def _in_folder(name: str) -> NamedBackbone:
    folder = _folder(name)
    path = folder / _CONFIG
    if not path.is_file():
        raise LosaError(
            f"backbone.name={name}: there is no file {path}. Expected a folder with {_CONFIG} and weights, "
            "as timm saves it for the hub"
        )
    return _configured(
        path, asked=name, name=None, timm_name=f"{FOLDER}{folder}", file=partial(_existing, folder)
    )


def _shipped(name: str) -> NamedBackbone:
    folder = SHIPPED[name]
    return _configured(
        folder / _CONFIG,
        asked=name,
        name=name,
        timm_name=f"{FOLDER}{folder}",
        file=partial(_existing, folder),
    )


def _folder(name: str) -> Path:
    return local_path(name.removeprefix(FOLDER)).resolve()


def _existing(folder: Path, file: str) -> Path | None:
    path = folder / file
    return path if path.is_file() else None


def _configured(config: Path, *, asked: str, name: str | None, **fields: Any) -> NamedBackbone:
    """The model of a configuration in the form that timm saves."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        architecture = str(content["architecture"])
        arguments = dict(content.get("model_args") or {})
        weights = content.get("pretrained_cfg", content)
        tag = weights.get("tag")
        stated = weights.get("input_size")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise LosaError(
            f"backbone.name={asked}: {config} is not the configuration of a timm model: expected an "
            f"architecture in it ({short_cause(error)})"
        ) from None
    _refuse_unknown(architecture, architecture, f"{asked}, whose architecture is {architecture}")
    return NamedBackbone(
        name=name or architecture,
        architecture=architecture,
        arguments=arguments,
        tag=tag,
        img_size=_img_size(stated or _input_size(architecture)),
        **fields,
    )


def _input_size(name: str) -> tuple[int, int, int] | None:
    known = timm.get_pretrained_cfg(name)
    return None if known is None else known.input_size


def _img_size(input_size: Any) -> tuple[int, int] | None:
    """Height and width of an input size; None for anything that is none, which timm refuses later."""
    match input_size:
        case [_, int(height), int(width)]:
            return height, width
    return None


def _refuse_unknown(name: str, architecture: str, asked: str) -> None:
    if not timm.is_model(name):
        raise LosaError(
            f"backbone.name={asked}: timm {timm.__version__} has no such model"
            f"{nearest(architecture, [*timm.list_models(), *SHIPPED])}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        known = timm.list_pretrained(f"{architecture}.*")
        raise LosaError(
            f"backbone.name={asked}: timm {timm.__version__} has no such weights of {architecture}; "
            f"there are: {', '.join(known) or 'none'}"
        ) from None
