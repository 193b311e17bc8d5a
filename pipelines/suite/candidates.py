"""The members that a suite trains on a task to choose from, and those that it trains once it has chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.command_line import to_config
from losa.pipelines.selection import Configuration, as_candidate, as_final
from losa.pipelines.shown_options import shown, varying_options
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.split_roles import SplitRoles
from losa.pipelines.suite.swept_options import SWEPT, grid


class Candidates:
    """All combinations of the swept options, in the lines of the table for which one of them is chosen.

    Attributes:
        lines: name of a line of the table -> options of its candidates.
        tried: names of the options of which several values are tried.
        idle: for each candidate, the options without an effect on it, as `AdaptConfig.idle_options`.
    """

    def __init__(self, config: SuiteConfig) -> None:
        """Refuse wrong options, before any task is looked at.

        Raises:
            LosaError: an option is wrong, or ``select`` names one that is not swept.
        """
        self._config = config
        for name in config.select:
            if name not in SWEPT or name not in config.sweep:
                raise LosaError(
                    f"select=[{','.join(config.select)}]: expected options of the sweep "
                    f"({', '.join(config.sweep)}), found {name!r}"
                )
        self.lines: dict[str, list[Mapping[str, Any]]] = {}
        self.idle: list[Mapping[str, str]] = []
        points = grid(config.sweep)
        self.tried = varying_options(points)
        for point in points:
            member = self._member(point, Path("cache"), None)
            self.lines.setdefault(_line(member, config.select), []).append(point)
            self.idle.append(member.idle_options)

    def of_line(self, line: str, cache: Path, roles: SplitRoles) -> list[AdaptConfig]:
        """The configurations to choose from, each with the seeds over whose mean the choice is made."""
        return [
            replace(self._member(point, cache, roles), seed=seed, data_seed=seed)
            for point in self.lines[line]
            for seed in range(self._config.choice_seeds)
        ]

    def finals(self, chosen: Configuration) -> list[AdaptConfig]:
        """The members to train once a configuration is chosen, one for each seed. They are not scored yet."""
        config = as_final(chosen.candidates[0].config, chosen.best_epochs)
        return [replace(config, seed=seed, data_seed=seed) for seed in range(self._config.seeds)]

    def counts(self, roles: SplitRoles) -> tuple[int, int]:
        """Numbers of different candidates and of final members of a task."""
        members = {
            as_candidate(config).member_id
            for line in self.lines
            for config in self.of_line(line, Path("cache"), roles)
        }
        return len(members), len(self.lines) * self._config.seeds

    def _member(self, point: Mapping[str, Any], cache: Path, roles: SplitRoles | None) -> AdaptConfig:
        splits = {} if roles is None else _splits(roles)
        config = self._config
        own = {"cache": str(cache), "protocol": "select", "device": config.device, "threads": config.threads}
        return to_config(AdaptConfig, OmegaConf.create({**point, **own, **splits}))


def _splits(roles: SplitRoles) -> dict[str, Any]:
    both = roles.both[0] if len(roles.both) == 1 else list(roles.both)
    # The test split is not in the cache: it is scored later, through the backbone.
    return {
        "select_train_split": roles.fit,
        "select_split": roles.held_out,
        "train_split": both,
        "eval_split": [],
    }


def _line(member: AdaptConfig, select: Sequence[str]) -> str:
    """The line that a member belongs to, by the options that have an effect on it."""
    named = [name for name in select if name not in member.idle_options]
    texts = [
        str(member.side) if name == "side" else f"{name}={shown(getattr(member, name))}" for name in named
    ]
    return " ".join(texts) or "chosen"
