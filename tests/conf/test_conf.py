"""The configuration files against the dataclasses they become."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from hydra import compose, initialize_config_module

from losa.adapt import AdaptConfig
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig
from losa.extract.backbone_names import SHIPPED
from losa.pipelines import extract_job  # noqa: F401 -- registers what the files refer to
from losa.pipelines.classifier.matching_backbone import BackboneSource
from losa.pipelines.command_line import to_config
from losa.pipelines.evaluation.config import EvaluateConfig
from losa.pipelines.evaluation.job import without_preset
from losa.pipelines.export.config import ExportConfig
from losa.pipelines.predict.config import PredictConfig
from losa.pipelines.serve.config import ServeConfig
from losa.pipelines.suite.config import ExtractOptions, SuiteConfig

CONF = Path(__file__).parents[2] / "conf"
BACKBONES = sorted((CONF / "backbone").glob("*.yaml"))
DATASETS = sorted((CONF / "dataset").rglob("*.yaml"))


def own_options(name: str) -> dict[str, Any]:
    content = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return {key: value for key, value in content.items() if key not in ("defaults", "hydra")}


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("extract", ExtractConfig),
        ("adapt", AdaptConfig),
        ("evaluate", EvaluateConfig),
        ("export", ExportConfig),
        ("predict", PredictConfig),
        ("serve", ServeConfig),
    ],
)
def test_options_and_defaults_are_those_of_the_dataclass(name: str, schema: type[Any]) -> None:
    options = own_options(name)
    own = {field.name: field.default for field in fields(schema)} | {}
    if isinstance(options.get("backbone"), dict):  # its options stand in the file, not in files of a group
        source = options.pop("backbone")
        assert source == {field.name: field.default for field in fields(BackboneSource)}
    groups = {"dataset", "backbone", "engine"} & set(own)
    assert set(options) | groups == set(own)
    for option, default in own.items():
        if option in groups or default is MISSING:
            continue
        # YAML 1.1, which PyYAML reads, takes 3e-3 for a string; OmegaConf reads YAML 1.2 numbers.
        value = options[option]
        assert (float(value) if isinstance(default, float) else value) == default, option


@pytest.mark.parametrize(
    "name", ["extract", "adapt", "evaluate", "export", "predict", "serve", "vtab1k", "fgvc"]
)
def test_every_option_is_explained_on_its_line_or_by_its_name(name: str) -> None:
    text = (CONF / f"{name}.yaml").read_text()
    options = text[text.index("\n\n") : text.index("\nhydra:")].strip().splitlines()
    unexplained = [line for line in options if "#" not in line]
    assert unexplained in ([], ["epochs: 20"])


@pytest.mark.parametrize("name", ["vtab1k", "fgvc"])
def test_a_suite_has_its_defaults_in_its_file(name: str) -> None:
    options = own_options(name)
    assert {*options, "backbone"} == {field.name for field in fields(SuiteConfig)}
    assert set(options["extract"]) == {field.name for field in fields(ExtractOptions)}
    extract = {field.name: field.default for field in fields(ExtractConfig)}
    preset = yaml.safe_load((CONF / "dataset/vtab/dtd.yaml").read_text())
    protocol = {option: preset[option] for option in ("resize", "exif")} if name == "vtab1k" else {}
    assert options["extract"] == {option: extract[option] for option in options["extract"]} | protocol
    with initialize_config_module("losa.conf", version_base="1.3"):
        config = to_config(SuiteConfig, compose(name, ["root=x"]))
    assert config.out == f"{name}-vit_base_patch16_224.orig_in21k"
    small = yaml.safe_load((CONF / "search/small.yaml").read_text())
    assert config.sweep.items() >= small["hydra"]["sweeper"]["params"].items()


@pytest.mark.parametrize("path", DATASETS, ids=lambda path: path.relative_to(CONF).as_posix())
@pytest.mark.parametrize("backbone", ["vit_b16"])
def test_every_data_set_composes(path: Path, backbone: str) -> None:
    choice = path.relative_to(CONF / "dataset").with_suffix("").as_posix()
    with initialize_config_module("losa.conf", version_base="1.3"):
        composed = compose("extract", [f"dataset={choice}", f"backbone={backbone}", "cache=x"])
        to_be_judged_on = compose("evaluate", [f"dataset={choice}"])
    config = to_config(ExtractConfig, composed)
    assert isinstance(config.dataset, DatasetConfig)
    assert config.dataset.name == choice
    assert to_config(EvaluateConfig, without_preset(to_be_judged_on, [])).dataset == config.dataset


def test_vtab_has_its_nineteen_tasks_and_three_presets_of_tasks_that_share_images() -> None:
    presets = [yaml.safe_load(path.read_text()) for path in (CONF / "dataset/vtab").glob("*.yaml")]
    kinds = [preset["dataset"]["kind"] for preset in presets]
    assert (kinds.count("lists"), kinds.count("tasks"), len(kinds)) == (19, 3, 22)


@pytest.mark.parametrize("path", BACKBONES, ids=lambda path: path.stem)
def test_every_backbone_is_one_that_is_pretrained(path: Path) -> None:
    config = BackboneConfig(**yaml.safe_load(path.read_text()))
    assert config.name in timm.list_pretrained() or config.name in SHIPPED
    assert config.pretrained


def test_orig_in21k_is_normalised_as_its_own_config_says() -> None:
    name = yaml.safe_load((CONF / "backbone/vit_b16.yaml").read_text())["name"]
    assert timm.get_pretrained_cfg(name).mean == (0.5, 0.5, 0.5)


def test_files_name_no_machine() -> None:
    for path in CONF.rglob("*.yaml"):
        assert not re.search(r"(?<![\w.])/(home|root|work|data)\b", path.read_text()), path
