import pytest
from hydra import compose, initialize_config_module

from losa.extract import ExtractConfig
from losa.pipelines import extract_job
from losa.pipelines.command_line import to_config


@pytest.mark.parametrize(
    ("options", "cache"),
    [
        (["backbone=deit_ti16"], "caches/digits-deit_tiny_patch16_224.fb_in1k"),
        (["dataset=vtab/dtd", "backbone.name=test_vit"], "caches/vtab/dtd-test_vit"),
        (["backbone.name=hf-hub:timm/test_vit.r160_in1k"], "caches/digits-timm-test_vit.r160_in1k"),
        (["backbone.name=hf-hub:we/model@v2"], "caches/digits-we-model-v2"),
        (["backbone.name=local-dir:/data/models/mine/"], "caches/digits-mine"),
        (["cache=elsewhere"], "elsewhere"),
    ],
)
def test_the_default_cache_is_named_after_data_set_and_backbone(options: list[str], cache: str) -> None:
    assert extract_job.run  # the module defines what the default needs
    with initialize_config_module("losa.conf", version_base="1.3"):
        composed = compose("extract", options)
    assert to_config(ExtractConfig, composed).cache == cache


def test_arguments_and_image_size_of_the_backbone() -> None:
    options = ["backbone.args={depth: 2, act_layer: gelu, window_size: [7, 7]}", "backbone.img_size=[64,96]"]
    with initialize_config_module("losa.conf", version_base="1.3"):
        config = to_config(ExtractConfig, compose("extract", options))
    assert config.backbone.args == {"depth": 2, "act_layer": "gelu", "window_size": [7, 7]}
    assert config.backbone.img_size == [64, 96]
