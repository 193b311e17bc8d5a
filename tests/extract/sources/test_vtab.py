from importlib.resources import files

import pytest
from omegaconf import OmegaConf

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


def _keys_and_labels(source, split):
    contents = source.contents(split)
    return list(contents.keys), contents.labels["label"].tolist()


def test_every_task_of_vtab_has_a_configuration():
    folder = files("losa.conf") / "dataset/vtab"
    assert {entry.name for entry in folder.iterdir()} == {f"{task}.yaml" for task in VTAB_CLASSES}


@pytest.mark.parametrize("task", VTAB_CLASSES)
def test_the_configuration_of_a_vtab_task_opens_the_community_layout(task, tmp_path, paint):
    classes = VTAB_CLASSES[task]
    names = ["images/train800/000000.png", "images/val200/000000.png", "images/test/000000.png"]
    for seed, name in enumerate(names):
        paint(tmp_path / task / name, seed)
    train, val, test = f"{names[0]} 0\n", f"{names[1]} 1\n", f"{names[2]} {classes - 1}\n"
    written = {"train800": train, "val200": val, "train800val200": train + val, "test": test}
    for split, content in written.items():
        (tmp_path / task / f"{split}.txt").write_text(content)
    values = OmegaConf.to_container(OmegaConf.load(str(files("losa.conf") / f"dataset/vtab/{task}.yaml")))
    assert (values["resize"], values["exif"]) == ("squash", "ignore")
    config = DatasetConfig(**(values["dataset"] | {"root": str(tmp_path)}))
    assert config.name == f"vtab/{task}"
    source = open_source(config)
    assert source.splits == tuple(written)
    assert source.columns[0].num_classes == classes
    assert _keys_and_labels(source, "train800val200") == (names[:2], [0, 1])
    (tmp_path / task / "test.txt").write_text(f"{names[2]} {classes}\n")
    with pytest.raises(LosaError, match=f"num_classes={classes}"):
        open_source(config)
