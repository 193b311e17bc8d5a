"""Made-up data sets, tiny backbones and tiny caches for the tests of the first stage."""

import io
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from losa.cache_format import (
    CacheRequest,
    CacheWriter,
    Calibration,
    FeatureIdentity,
    LabelColumn,
    SplitContents,
)
from losa.cache_format.codecs import needs_calibration
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.identity import BackboneIdentity, Preprocessing, SiteGroup, TokenLayout
from losa.cache_format.metadata.constants import calibration_constants
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, ImageSource, open_source
from losa.extract.config import TaskConfig


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """The models are too small for more, and the cores may be busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def encoded(seed: int = 0, size: tuple[int, int] = (20, 16)) -> bytes:
    """A picture of noise as PNG; equal seeds give equal bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def paint() -> Callable[..., Path]:
    """``paint(path, seed)``: write a picture of noise; equal seeds give equal bytes."""

    def paint(path: Path, seed: int = 0, size: tuple[int, int] = (20, 16)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return paint


@pytest.fixture
def photos(tmp_path: Path, paint: Callable[..., Path]) -> Path:
    """A folder of two splits and two classes: 7 training and 3 validation images."""
    for number in range(7):
        paint(tmp_path / f"photos/train/{'cat' if number % 2 else 'ant'}/{number}.png", number)
    for number in range(3):
        paint(tmp_path / f"photos/val/cat/{number}.png", 100 + number)
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def save_photos() -> Callable[[Path, Path], None]:
    """``save_photos(photos, folder)``: write folders of splits and classes as a data set of Hugging Face."""

    def save(photos: Path, folder: Path) -> None:
        import datasets

        classes = sorted({path.name for path in photos.glob("*/*")})
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)})
        splits = {}
        for split in photos.iterdir():
            files = sorted(split.glob("*/*"))
            images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
            labels = [classes.index(file.parent.name) for file in files]
            splits[split.name] = datasets.Dataset.from_dict(
                {"image": images, "label": labels}, features=features
            )
        datasets.DatasetDict(splits).save_to_disk(folder)

    return save


@pytest.fixture
def vtab(tmp_path: Path, paint: Callable[..., Path]) -> Path:
    """Lists in the community layout: 6 + 3 images, of which the third list names all."""
    root = tmp_path / "vtab"
    lines = {
        "train800": [f"images/train800/{number}.png {number % 2}" for number in range(6)],
        "val200": [f"images/val200/{number}.png {number % 3}" for number in range(3)],
    }
    lines["train800val200"] = lines["train800"] + lines["val200"]
    for seed, line in enumerate(lines["train800val200"]):
        paint(root / line.split()[0], seed)
    for name, content in lines.items():
        (root / f"{name}.txt").write_text("\n".join(content) + "\n")
    return root


@pytest.fixture(scope="session")
def pack() -> Callable[..., Path]:
    """``pack(path, members)``: write a tar of files, name -> content."""

    def pack(path: Path, members: dict[str, bytes | str]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for name, content in members.items():
                data = content.encode() if isinstance(content, str) else content
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
        return path

    return pack


@pytest.fixture
def shards(tmp_path: Path, pack: Callable[..., Path]) -> Path:
    """Shards of two splits: 2 x 3 training and 2 test samples, which are numbered in each shard anew."""
    for number, name in enumerate(("train-0000", "train-0001", "test-0000")):
        members: dict[str, bytes | str] = {}
        for sample in range(2 if name == "test-0000" else 3):
            members |= {
                f"{sample:03}.png": encoded(10 * number + sample),
                f"{sample:03}.cls": f"{sample}\n",
            }
        pack(tmp_path / f"shards/{name}.tar", members)
    return tmp_path / "shards"


@pytest.fixture
def webdataset(tmp_path: Path) -> Callable[..., ImageSource]:
    """``webdataset(root, **fields)``: shards, whose indices are kept below the temporary folder."""

    def open_shards(root: Path | str, **fields: Any) -> ImageSource:
        fields = {"index_folder": str(tmp_path / "indices")} | fields
        return open_source(DatasetConfig(kind="webdataset", name="w", root=str(root), **fields))

    return open_shards


@pytest.fixture
def twins(vtab: Path) -> Path:
    """Two tasks, ``count`` and ``dist``, with the images of ``vtab``; labels of ``dist`` are one higher."""
    root = vtab.parent / "twins"
    for name in ("count", "dist"):
        shutil.copytree(vtab, root / name)
    for file in (root / "dist").glob("*.txt"):
        lines = [line.split() for line in file.read_text().splitlines()]
        file.write_text("".join(f"{path} {int(label) + 1}\n" for path, label in lines))
    return root


@pytest.fixture
def tasks() -> Callable[..., ImageSource]:
    """``tasks(root)``: two tasks that share their images, as one data set."""
    folders = {name: TaskConfig(subfolder=name) for name in ("count", "dist")}
    return lambda root: open_source(DatasetConfig(kind="tasks", name="t", root=str(root), tasks=folders))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., ImageSource]:
    """``folder(**fields)``: the plain image folder below ``root``, or below the temporary folder."""
    return lambda root=tmp_path, **fields: open_source(
        DatasetConfig(kind="folder", name="f", root=str(root), **fields)
    )


@pytest.fixture
def lists(tmp_path: Path) -> Callable[..., ImageSource]:
    """As ``folder``, for text lists."""
    return lambda root=tmp_path, **fields: open_source(
        DatasetConfig(kind="lists", name="l", root=str(root), **fields)
    )


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., ExtractConfig]:
    """``config(**changes)``: an extraction by an untrained toy transformer, here of ten digits.

    A change may be a dictionary, of fields of the data set or the backbone.
    """

    def make(**changes: Any) -> ExtractConfig:
        dataset = {"kind": "digits", "name": "toy"} | changes.pop("dataset", {})
        backbone = {"name": "test_vit", "pretrained": False} | changes.pop("backbone", {})
        settings = {
            "cache": str(tmp_path / "cache"),
            "rows_per_shard": 4,
            "batch_size": 3,
            "workers": 0,
            "sites": ["embed", 2],
            "device": "cpu",
        }
        if dataset["kind"] == "digits":
            settings |= {"limit": 10, "splits": ["train800"]}
        return ExtractConfig(
            dataset=DatasetConfig(**dataset), backbone=BackboneConfig(**backbone), **(settings | changes)
        )

    return make


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """``tree(folder)``: every file below a folder, relative path -> content."""

    def tree(folder: Path) -> dict[str, bytes]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return tree


@pytest.fixture(scope="session")
def toy_model() -> Callable[..., nn.Module]:
    """``toy_model(name)``: a timm model, made small where it is not, with every tensor random.

    (Untrained layers that scale by 1e-5 or start at zero would hide what a test looks for.)
    """
    small: dict[str, dict[str, Any]] = {
        "vit_small_patch14_reg4_dinov2": {"img_size": 56, "embed_dim": 48, "num_heads": 2, "depth": 3},
        "vit_small_patch16_dinov3": {"img_size": 64, "embed_dim": 48, "num_heads": 2, "depth": 3},
        "vit_base_patch16_clip_224": {"img_size": 64, "embed_dim": 48, "num_heads": 2, "depth": 3},
        "deit_tiny_distilled_patch16_224": {"img_size": 64, "depth": 2},
    }

    def make(name: str, seed: int = 0, **changes: Any) -> nn.Module:
        arguments = small.get(name, {}) | changes
        if "img_size" in arguments:
            side = arguments["img_size"]
            arguments["pretrained_cfg_overlay"] = {"input_size": (3, side, side)}
        model = timm.create_model(name, pretrained=False, **arguments)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.1, generator=generator)
        return model

    return make


@pytest.fixture
def toy_writer(tmp_path: Path) -> Callable[..., CacheWriter]:
    """``toy_writer(codec, images, rows)``: a cache of 2 sites, 3 tokens, width 4 and no shard yet."""

    def make(codec: Any = "float16", images: int = 10, rows: int = 4) -> CacheWriter:
        calibration = Calibration(np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32))
        constants = calibration_constants(calibration if needs_calibration(codec) else None)
        group = SiteGroup(
            sites=("block.00", "block.01"), tokens=TokenLayout(cls=1, registers=0, grid=(1, 2)), width=4
        )
        features = FeatureIdentity(
            backbone=BackboneIdentity(name="toy", weights_sha256="00" * 32, depth=2),
            preprocessing=Preprocessing(
                input_size=(3, 8, 8),
                interpolation="bicubic",
                mean=(0.5, 0.5, 0.5),
                std=(0.5, 0.5, 0.5),
                crop_pct=1.0,
                crop_mode="center",
            ),
            site_groups=(group,),
            compute_dtype="float32",
            codec=codec,
            final_norm=None,
            constants={name: hash_array(array) for name, array in constants.items()},
        )
        keys = [f"{number}.png" for number in range(images)]
        request = CacheRequest(
            dataset="toy",
            features=features,
            labels=[LabelColumn(name="label", num_classes=2)],
            splits=[SplitContents(name="train", keys=keys, labels={"label": np.zeros(images, np.int64)})],
            rows_per_shard=rows,
            provenance={},
        )
        return CacheWriter(tmp_path / "toy", request, constants)

    return make


@pytest.fixture
def within() -> Callable[..., None]:
    """``within(seconds, function)``: run it, raise what it raises, fail if it does not end in time."""

    def within(seconds: float, function: Callable[[], None]) -> None:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        assert not thread.is_alive(), f"still running after {seconds} s: a deadlock"
        if errors:
            raise errors[0]

    return within
