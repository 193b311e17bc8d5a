"""What a study trains on, which side networks, and how often."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from losa.adapt import AdaptConfig
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.extract import BackboneConfig
from losa.extract.grid_pooling import parse_grid
from losa.pipelines.arguments import checked_arguments
from losa.pipelines.bench.data_folders import find_data_folders
from losa.pipelines.bench.unknown_names import refuse_unknown
from losa.pipelines.command_line import to_config
from losa.pipelines.options import options_of
from losa.pipelines.selection import as_candidate

LINEAR = "linear"
"""The side network that all others are compared with."""
RUNS = "runs"
"""Folder of all members of all studies, below the folder of the study."""

_OF_THE_STUDY = {
    "cache": "DATA",
    "side": "--side",
    "sites": "--sites",
    "seed": "--seeds",
    "data_seed": "--seeds",
    "device": "--device",
    "out": "--out",
    "views": "losa-bench ablations --only views",
}
"""Options of a member that a study sets itself, and what to give instead of an override."""
_NOT_HERE = (
    "protocol",
    "train_split",
    "eval_split",
    "select_train_split",
    "select_split",
    "halve_at",
    "tracker",
    "engine",
)
"""Options of a member that a study sets itself, or that only losa-adapt has a use for."""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Data sets, backbone, side networks, seeds, and options that all members have beside their defaults."""

    data: Sequence[str]
    """Folders of data sets; see `find_data_folders`."""
    backbone: str
    out: str
    """Folder of the caches, of the members and of the results."""
    sides: Sequence[str] = ("losa", "last", "relay")
    checkpoint: str | None = None
    pretrained: bool = True
    seeds: int = 5
    """Members of a configuration: ``seed`` of each is 0, 1, and so on, and so is ``data_seed``."""
    same_order: bool = False
    """Whether ``data_seed`` is 0 for all instead: a configuration's members then train as one network, but
    the order of images is no part of what their accuracies vary by."""
    sites: str = "all"
    """Sites of the caches that side networks read, as ``sites=...`` of losa-adapt."""
    grid: str | None = None
    """Size to which the grids of tokens are mean-pooled in the caches; None to keep them. Coarse grids are
    for quick comparisons: members train several times faster."""
    sets: Sequence[str] = ()
    """Names of the data sets to take; all of them if there are none."""
    overrides: Sequence[str] = ()
    """``name=value`` for all members, as losa-adapt takes them."""
    validate: bool = False
    """Whether members are trained without the split to choose on and scored there, instead of on the test
    split: what defaults may be chosen by."""
    device: str = "auto"
    workers: int | None = None
    """Processes that decode images; None for the choice of losa-extract."""

    def __post_init__(self) -> None:
        """Refuse wrong options before anything is extracted or trained."""
        if self.seeds < 1:
            raise LosaError(f"--seeds {self.seeds}: expected at least 1")
        refuse_unknown("--side", self.sides, SIDE_NETWORKS)
        if self.grid is not None:
            try:
                parse_grid(self.grid)
            except ValueError as error:
                raise LosaError(f"--{error}") from None
        self._base  # noqa: B018 -- to check the overrides

    @cached_property
    def folders(self) -> Mapping[str, Path]:
        """The data sets: name -> folder.

        Raises:
            LosaError: there are none, or a name is unknown.
        """
        return find_data_folders(self.data, self.sets)

    @property
    def backbone_config(self) -> BackboneConfig:
        """The backbone, for extraction."""
        return BackboneConfig(name=self.backbone, checkpoint=self.checkpoint, pretrained=self.pretrained)

    @property
    def described(self) -> str:
        """What all members have in common, and how to read their cells, in sentences."""
        member = self.trained(self.config(Path(self.out), LINEAR))
        overrides = f" All members: {' '.join(self.overrides)}." if self.overrides else ""
        grid = "" if self.grid is None else f", grid={self.grid}"
        seeds = "one seed" if self.seeds == 1 else f"mean ± standard error of {self.seeds} seeds"
        seeds += " with the same order of images" if self.same_order and self.seeds > 1 else ""
        return (
            f"{self.backbone}, frozen, sites={self.sites}{grid}.{overrides} "
            f"Trained on {member.train_splits[0]}; accuracy on {member.eval_splits[0]} in percent, {seeds}. "
            "Parameters: without the head."
        )

    @property
    def runs(self) -> Path:
        """The folder of the members."""
        return Path(self.out) / RUNS

    def config(self, cache: Path, side: str, **changes: Any) -> AdaptConfig:
        """A configuration: the defaults with the overrides and some changes, of seed 0.

        Raises:
            LosaError: options do not go together.
        """
        return _config({**self._base, "cache": str(cache), "side": side, **changes})

    def trained(self, config: AdaptConfig) -> AdaptConfig:
        """The member that a configuration stands for: the same one, or with ``validate`` a candidate."""
        return as_candidate(replace(config, protocol="select")) if self.validate else config

    def seeded(self, config: AdaptConfig, seeds: int | None = None) -> list[AdaptConfig]:
        """The members of a configuration, one for each seed.

        Args:
            config: the configuration.
            seeds: their number; None for that of the study.
        """
        return [
            replace(config, seed=seed, data_seed=0 if self.same_order else seed)
            for seed in range(self.seeds if seeds is None else seeds)
        ]

    @cached_property
    def _base(self) -> dict[str, Any]:
        """Options of all members, as they are given, without those that differ between members."""
        typed = [*self.overrides, f"sites={self.sites}", f"device={self.device}"]
        for override in self.overrides:
            self._refuse_own(override.partition("=")[0].lstrip("+~"))
        parser = OverridesParser.create()
        checked = parser.parse_overrides(checked_arguments(typed, options_of(AdaptConfig)))
        options = {override.key_or_group: override.value() for override in checked}
        _config({"cache": self.out, **options})
        return options

    def _refuse_own(self, name: str) -> None:
        if name in _OF_THE_STUDY:
            raise LosaError(
                f"--override {name}=...: this option belongs to the study; give it as {_OF_THE_STUDY[name]}"
            )
        if name.partition(".")[0] in _NOT_HERE:
            raise LosaError(f"--override {name}=...: a study sets this option itself; losa-adapt takes it")


def _config(options: Mapping[str, Any]) -> AdaptConfig:
    return to_config(AdaptConfig, OmegaConf.create(dict(options)))
