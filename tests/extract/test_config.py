"""Options that have no effect are refused, where another one decides that."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from losa.cache_format import LosaError
from losa.extract import ExtractConfig
from losa.pipelines.command_line import to_config

DIGITS = {"dataset": {"kind": "digits", "name": "digits"}}
VIDEOS = {"dataset": {"kind": "folder", "name": "films", "media": "videos", "root": "films"}}


def chosen(options: dict[str, Any]) -> ExtractConfig:
    plain = {"backbone": {"name": "test_vit"}, "cache": "cache", **DIGITS}
    return to_config(ExtractConfig, OmegaConf.create(plain | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbone": {"name": "test_vit", "seed": 3}},
            "backbone.seed=3 has an effect on random weights only, and these are pretrained: leave it out, "
            "or ask for random ones (backbone.pretrained=false, and no checkpoint)",
        ),
        (
            {"backbone": {"name": "test_vit", "pretrained": False, "checkpoint": "w.pth", "seed": 3}},
            "backbone.seed=3 has an effect on random weights only, and these are of w.pth: leave it out, or "
            "ask for random ones (backbone.pretrained=false, and no checkpoint)",
        ),
        ({"split_seed": 3}, "split_seed=3 needs split=..., the parts to cut a split into"),
        ({"split_of": "train"}, "split_of=train needs split=..., the parts to cut a split into"),
        (
            {"view_crop": 0.3},
            "view_crop=0.3 is of augmented views, and none are asked for: views=4 makes three of each image",
        ),
        (
            {"view_flip": False, "splits": ["train800"]},
            "view_flip=false is of augmented views, and none are asked for: views=4 makes three of each "
            "image",
        ),
        (
            {"stride": 1},
            "stride=1 is meant for videos, but dataset=digits holds images: dataset.media=videos, or "
            "dataset=video",
        ),
        (
            VIDEOS | {"background": [0, 0, 0]},
            "background=[0,0,0] is the colour behind transparent pixels, which frames of videos do not have",
        ),
        (
            {"dataset": {"kind": "digits", "name": "digits", "root": "here"}},
            "dataset.root=here: a data set of kind digits does not read it; those of kind folder, lists, "
            "tasks, table, fgvc, webdataset, timm, huggingface do: choose one with dataset=...",
        ),
    ],
    ids=str,
)
def test_what_has_no_effect_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LosaError) as refused:
        chosen(options)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": {"name": "test_vit", "pretrained": False, "seed": -3}},
        {"split": 0.8, "split_seed": 3},
        {"views": 2, "splits": ["train800"], "view_flip": False},
        {"splits": ["train800-views2"], "view_crop": 0.3},
        VIDEOS | {"frames": 4, "stride": 2, "clips": 2},
        {"background": [0, 0, 0]},
    ],
    ids=str,
)
def test_what_has_an_effect_is_taken(options: dict[str, Any]) -> None:
    chosen(options)


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_that_no_generator_takes(seed: int) -> None:
    with pytest.raises(LosaError, match=rf"^backbone\.seed={seed}: input should be (less|greater) than"):
        chosen({"backbone": {"name": "test_vit", "pretrained": False, "seed": seed}})
