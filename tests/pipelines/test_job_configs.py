"""Jobs composed from what they share, against Hydra's own composition of each."""

import pickle
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from losa.pipelines.job_configs import JobConfigLoader, without_hydra

FILES = {
    "main.yaml": """
        defaults:
          - model: plain
          - optional place@where: null
          - _self_
        lr: 0.1
        needed: ???
        name: ${model.kind}-${lr}
        drawn: ${drawn_once:}
        splits: [train, val]
        nested: {inner: {a: 1, b: [1, 2]}, other: x}
        nothing: null
        """,
    "model/plain.yaml": "{kind: plain, width: 1}",
    "model/deep.yaml": "{kind: deep, width: 2, layers: [1, 2, 3]}",
    "place/here.yaml": "{x: 1}",
    "place/there.yaml": "{x: 2}",
    "experiment/wide.yaml": """
        # @package _global_
        defaults:
          - override /model: deep
        model: {width: 100}
        lr: 0.5
        """,
}
Load = Callable[[Any, Sequence[str]], DictConfig]


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[ConfigLoaderImpl]:
    for name, content in FILES.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    draws = iter(range(1000))
    OmegaConf.register_new_resolver("drawn_once", lambda: next(draws), use_cache=True, replace=True)
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        found = GlobalHydra.instance().config_loader()
        assert isinstance(found, ConfigLoaderImpl)
        yield found
    OmegaConf.clear_resolver("drawn_once")


def master(loader: ConfigLoaderImpl, *overrides: str) -> DictConfig:
    config = loader.load_configuration("main", ["hydra.mode=MULTIRUN", *overrides], RunMode.MULTIRUN)
    assert isinstance(config.drawn, int)  # in the cache of the resolver from now on
    return config


def flags_and_types(config: Any) -> Any:
    """All that a node is, besides its value."""
    own = (
        type(config),
        config._metadata.flags,
        config._metadata.ref_type,
        config._metadata.object_type,
        config._metadata.optional,
    )
    children: Any = ()
    if isinstance(config, DictConfig) and not config._is_none() and not config._is_interpolation():
        children = {name: flags_and_types(config._get_node(name)) for name in config}
    return own, children


def assert_equal(found: DictConfig, expected: DictConfig) -> None:
    assert OmegaConf.to_container(found, resolve=False) == OmegaConf.to_container(expected, resolve=False)
    assert list(found) == list(expected)
    assert flags_and_types(found) == flags_and_types(expected)
    assert OmegaConf.get_cache(found) == OmegaConf.get_cache(expected)


JOBS = [
    [],
    ["lr=0.3"],
    ["lr=0.3", "needed=1", "lr=0.4"],
    ["needed='a, b'", "lr=${model.width}", "name=${oc.env:HOME}"],
    ["needed=null", "nothing=3", "lr=true"],
    ["needed=[1,2,{a:3}]", "splits=[]"],
    ["nested={inner:{a:5}}", "nested.inner.b=[3]", "nested.other=null"],
    ["nested.inner=4"],
    ["nested=null"],
    ["+added=1", "+nested.inner.c=2", "++nested.inner.a=3", "++more.and.more=4"],
    ["+nested={new:1}", "+splits=[test]"],
    ["~splits", "~nested.inner.b", "~lr=0.1"],
    ["lr=0.7", "~lr", "+lr=0.8"],
    ["name=${hydra.job.num}", "lr=${hydra:job.name}"],
    ["~name=plain-0.1"],
    ["model=deep", "lr=0.2"],
    ["lr=0.2", "model=deep", "model.width=7"],
    ["model=deep", "model={kind:other}"],
    ["model={kind:other}"],
    ["+experiment=wide"],
    ["lr=0.9", "+experiment=wide", "model.width=8"],
    ["place@where=here", "where.x=3"],
    ["+place@elsewhere=there", "needed=1"],
    ["~model"],
    ["~model=plain", "lr=1"],
    ["hydra.job.name=other", "lr=0.2"],
    ["lr=0.2", "+hydra.job.env_set.A=b"],
]


def test_jobs_equal_those_that_hydra_composes(loader: ConfigLoaderImpl) -> None:
    sweep, quick = master(loader), JobConfigLoader(loader)
    for job in JOBS:
        expected = loader.load_sweep_config(sweep, job)
        assert_equal(quick.load_sweep_config(sweep, job), expected)
        assert_equal(quick.load_options(sweep, job), without_hydra(expected))
        lent = quick.lend_sweep_config(sweep, job)
        assert OmegaConf.to_container(lent) == OmegaConf.to_container(expected)
        lent.hydra.runtime.output_dir = "the last job's"


@pytest.mark.parametrize(
    "shared",
    [
        "hydra.job.name=theirs",
        "+hydra.job.env_set.A=${lr}",
        "hydra.job.env_copy=[HOME]",
        "hydra.searchpath=[pkg://losa.conf]",
        "hydra.job.config.override_dirname.kv_sep=${name}",
        "hydra.job.config.override_dirname.exclude_keys=[lr]",
    ],
)
def test_options_of_hydra_that_concern_all_jobs(loader: ConfigLoaderImpl, shared: str) -> None:
    sweep = master(loader, shared)
    quick = JobConfigLoader(loader)
    # A group of the other folder is one only where that folder is searched.
    for job in (["lr=3", "name=by-${lr}"], ["model=deep", "lr=2"], ["+dataset=digits"]):
        assert_equal(quick.load_sweep_config(sweep, job), loader.load_sweep_config(sweep, job))


@pytest.mark.parametrize(
    "job",
    [
        ["no_such_option=1"],
        ["nested.no_such_option=1"],
        ["+lr=1"],
        ["~no_such_option"],
        ["~lr=7"],
        ["~nothing"],
        ["model=none_such"],
        ["lr@there=1"],
        ["++model=deep"],
        ["lr=${unfinished"],
        ["lr=1,2"],
        ["lr=["],
    ],
    ids=str,
)
def test_errors_are_those_of_hydra(loader: ConfigLoaderImpl, job: list[str]) -> None:
    sweep = master(loader)
    quick = JobConfigLoader(loader)
    quick.load_sweep_config(sweep, ["lr=0.3"])
    with pytest.raises(Exception) as expected:
        loader.load_sweep_config(sweep, job)
    with pytest.raises(type(expected.value)) as found:
        quick.load_sweep_config(sweep, job)
    assert str(found.value) == str(expected.value)


def test_jobs_do_not_share_what_they_are_given(loader: ConfigLoaderImpl) -> None:
    sweep, quick = master(loader), JobConfigLoader(loader)
    one, other = (quick.load_sweep_config(sweep, ["lr=1"]) for _ in range(2))
    one.nested.inner.a, one.hydra.job.num = 77, 5
    assert other.nested.inner.a == 1
    assert pickle.dumps(other) == pickle.dumps(quick.load_sweep_config(sweep, ["lr=1"]))


def test_files_are_composed_once(loader: ConfigLoaderImpl, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, quick = master(loader), JobConfigLoader(loader)
    composed = []

    def compose(self: ConfigLoaderImpl, **arguments: Any) -> DictConfig:
        composed.append(arguments["overrides"])
        return whole(self, **arguments)

    whole = ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", compose)
    for number in range(20):
        quick.load_sweep_config(sweep, [f"lr={number}", f"model={'plain' if number % 2 else 'deep'}"])
    assert len(composed) == 2
