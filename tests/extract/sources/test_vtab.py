import json
from importlib.resources import files

import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source

VTAB_CLASSES = {
    "caltech101": 102,
    "cifar": 100,
    "dtd": 47,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "svhn": 10,
    "sun397": 397,
    "patch_camelyon": 2,
    "eurosat": 10,
    "resisc45": 45,
    "diabetic_retinopathy": 5,
    "clevr_count": 8,
    "clevr_dist": 6,
    "dmlab": 6,
    "kitti": 4,
    "dsprites_loc": 16,
    "dsprites_ori": 16,
    "smallnorb_azi": 18,
    "smallnorb_ele": 9,
}
SHARED = {
    "clevr": {"count": "clevr_count", "dist": "clevr_dist"},
    "dsprites": {"loc": "dsprites_loc", "ori": "dsprites_ori"},
    "smallnorb": {"azi": "smallnorb_azi", "ele": "smallnorb_ele"},
}
"""Presets of tasks with the same images: label column -> task."""


def _keys_and_labels(source, split):
    contents = source.contents(split)
    return list(contents.keys), contents.labels["label"].tolist()


def test_every_task_of_vtab_has_a_configuration():
    folder = files("losa.conf") / "dataset/vtab"
    assert {entry.name for entry in folder.iterdir()} == {f"{name}.yaml" for name in (*VTAB_CLASSES, *SHARED)}


@pytest.fixture
def community(tmp_path, paint):
    """``community(task)``: the folder of a task, with three images; the last has the highest label."""
    names = ["images/train800/000000.png", "images/val200/000000.png", "images/test/000000.png"]

    def make(task):
        for seed, name in enumerate(names):
            paint(tmp_path / task / name, seed)
        train, val, test = f"{names[0]} 0\n", f"{names[1]} 1\n", f"{names[2]} {VTAB_CLASSES[task] - 1}\n"
        written = {"train800": train, "val200": val, "train800val200": train + val, "test": test}
        for split, content in written.items():
            (tmp_path / task / f"{split}.txt").write_text(content)
        return tmp_path / task

    return make


def _preset(name, root):
    values = OmegaConf.to_container(OmegaConf.load(str(files("losa.conf") / f"dataset/vtab/{name}.yaml")))
    assert (values["resize"], values["exif"]) == ("squash", "ignore")
    config = TypeAdapter(DatasetConfig).validate_json(json.dumps(values["dataset"] | {"root": str(root)}))
    assert config.name == f"vtab/{name}"
    return config


@pytest.mark.parametrize("task", VTAB_CLASSES)
def test_the_configuration_of_a_vtab_task_opens_the_community_layout(task, tmp_path, community):
    folder = community(task)
    source = open_source(_preset(task, tmp_path))
    assert source.splits == ("train800", "val200", "train800val200", "test")
    assert source.columns[0].num_classes == VTAB_CLASSES[task]
    names = ["images/train800/000000.png", "images/val200/000000.png"]
    assert _keys_and_labels(source, "train800val200") == (names, [0, 1])
    (folder / "test.txt").write_text(f"images/test/000000.png {VTAB_CLASSES[task]}\n")
    with pytest.raises(LosaError, match=f"num_classes={VTAB_CLASSES[task]}"):
        open_source(_preset(task, tmp_path))


@pytest.mark.parametrize("name", SHARED)
def test_tasks_with_the_same_images_are_one_data_set(name, tmp_path, community):
    for task in SHARED[name].values():
        community(task)
    source = open_source(_preset(name, tmp_path))
    assert source.splits == ("train800", "val200", "train800val200", "test")
    assert {column.name: column.num_classes for column in source.columns} == {
        column: VTAB_CLASSES[task] for column, task in SHARED[name].items()
    }
    contents = source.contents("test")
    assert contents.keys == ["images/test/000000.png"]
    assert {column: labels.tolist() for column, labels in contents.labels.items()} == {
        column: [VTAB_CLASSES[task] - 1] for column, task in SHARED[name].items()
    }
