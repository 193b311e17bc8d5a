"""The configurations of a sweep's jobs, composed from what they share.

Hydra reads and merges every configuration file again for every job, which takes a tenth of a second. Jobs
that choose the same files differ only in values, and values are set after the files are merged.
"""

import copy
import functools
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, flag_override, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

_REMEMBERED = 4096
"""Parsed overrides that are kept: the jobs of a sweep have most of theirs in common."""


@dataclass(frozen=True, slots=True)
class _Composed:
    """A configuration before its values are overridden, pickled: to unpickle is the quickest way to copy."""

    whole: bytes
    options: bytes
    """The configuration without Hydra's own part."""
    hydra: DictConfig
    """Hydra's own part, to be lent."""


class JobConfigLoader(ConfigLoaderImpl):
    """Hydra's loader of configurations, which composes files once for all jobs that choose the same ones.

    It leaves to Hydra what might differ from Hydra's own result: jobs that override Hydra's own options, and
    sweeps in which files are searched elsewhere, or environment variables are copied, for every job.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        """Compose nothing yet.

        Args:
            loader: the loader of the application, whose files are read.
        """
        assert isinstance(loader, ConfigLoaderImpl), loader  # Hydra has no other
        self.config_search_path = loader.config_search_path
        self.repository = loader.repository
        self._parse = functools.lru_cache(_REMEMBERED)(OverridesParser.create(loader).parse_override)
        self._is_group = functools.lru_cache(_REMEMBERED)(loader.repository.group_exists)
        self._composed: dict[tuple[str, ...], _Composed | None] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of a job, equal to the one that Hydra composes.

        Args:
            master_config: configuration of the sweep.
            sweep_overrides: overrides of the job.

        Raises:
            HydraException: the overrides cannot be applied.
        """
        return self._load(master_config, sweep_overrides, _whole) or super().load_sweep_config(
            master_config, sweep_overrides
        )

    def lend_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The same configuration, to be used until the next is lent: all share the part that is Hydra's."""
        return self._load(master_config, sweep_overrides, _lent) or super().load_sweep_config(
            master_config, sweep_overrides
        )

    def load_options(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The same configuration without Hydra's own part, as Hydra gives it to a task."""
        return self._load(master_config, sweep_overrides, _options) or without_hydra(
            super().load_sweep_config(master_config, sweep_overrides)
        )

    def _load(
        self,
        master: DictConfig,
        texts: Sequence[str],
        copied: Callable[[_Composed], DictConfig],
    ) -> DictConfig | None:
        """The configuration of a job, with Hydra's own part as wanted; None if it is left to Hydra."""
        try:
            overrides = [self._parse(text) for text in texts]
            composed = self._composed_for(master, overrides)
            if composed is None:
                return None
            config = copied(composed)
            values = [override for override in overrides if not self._is_group(override.key_or_group)]
            self._apply_overrides_to_config(values, config)
            if "hydra" in config:
                _note_overrides(config, overrides)
        except (HydraException, OmegaConfBaseException):
            return None  # Hydra fails for the same reason, with the error that its users know
        # What resolvers like ${now:...} have given to the sweep they give to all of its jobs.
        OmegaConf.copy_cache(from_config=master, to_config=config)
        return config

    def _composed_for(self, master: DictConfig, overrides: Sequence[Override]) -> _Composed | None:
        """What all jobs share that choose the same files; None if Hydra has to compose each of them."""
        for override in overrides:
            of_hydra = re.split(r"[./]", override.key_or_group)[0] == "hydra"
            if of_hydra or override.is_sweep_override():
                return None
            if self._is_group(override.key_or_group):
                if isinstance(override.value(), dict):  # values for the chosen file
                    return None
            elif override.package is not None:
                return None
        chosen = [str(one.input_line) for one in overrides if self._is_group(one.key_or_group)]
        # All that the composition of files depends on.
        key = (str(Path.cwd()), str(master.hydra.job.config_name), *master.hydra.overrides.hydra, "", *chosen)
        if key not in self._composed:
            config = super().load_sweep_config(master, chosen)
            own = OmegaConf.to_container(config.hydra, resolve=False)
            assert isinstance(own, dict)
            if own["searchpath"] or own["job"]["env_copy"]:
                self._composed[key] = None
            else:
                options = without_hydra(config)
                self._composed[key] = _Composed(pickle.dumps(config), pickle.dumps(options), config.hydra)
        return self._composed[key]


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy without Hydra's own part."""
    options = copy.deepcopy(config)
    with read_write(options), open_dict(options):
        del options["hydra"]
    return options


def _options(composed: _Composed) -> DictConfig:
    options: DictConfig = pickle.loads(composed.options)
    return options


def _whole(composed: _Composed) -> DictConfig:
    config: DictConfig = pickle.loads(composed.whole)
    return config


def _lent(composed: _Composed) -> DictConfig:
    """The options, copied, with the one part that is Hydra's."""
    config = _options(composed)
    with flag_override(config, ["struct", "readonly", "no_deepcopy_set_nodes"], [False, False, True]):
        config["hydra"] = composed.hydra
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.runtime.output_dir = MISSING
    return config


def _note_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """What Hydra notes of a job's overrides, none of which are of Hydra's own options."""
    config.hydra.overrides.task = [override.input_line for override in overrides]
    how = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=list(overrides),
        kv_sep=how.kv_sep,
        item_sep=how.item_sep,
        exclude_keys=how.exclude_keys,
    )
