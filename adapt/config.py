"""The options of an adaptation. Each one is explained once, with its unit, on its line in conf/adapt.yaml."""

import functools
import hashlib
import os
import re
from dataclasses import asdict, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.adapt.architecture import (
    Architecture,
    Heads,
    MixerOrder,
    Mixing,
    Norm,
    Pool,
    ProbeShare,
    Rank,
    Start,
)
from losa.adapt.side_networks import SIDE_NETWORKS, SideKind, idle_options
from losa.cache_format.common.fields import STRICT
from losa.cache_format.common.threads import Threads
from losa.cache_format.engines.config import EngineConfig
from losa.cache_format.identity import TokenLayout
from losa.cache_format.storage.sealed_json import canonical
from losa.cache_format.views import views_split

NotNegative = Annotated[float, Field(ge=0)]
TrackerName = Literal["tensorboard", "wandb", "mlflow"]
OneOrMore = str | Annotated[list[str], Field(min_length=1)]

WHEREABOUTS = (
    "out",
    "overwrite",
    "device",
    "residency",
    "threads",
    "compile",
    "checkpoint_seconds",
    "engine",
    "tracker",
)
"""Options that determine where and how a member is trained, and who is told, but not the result."""
_LONGEST_NAME = 120
"""Characters of a folder's name that tell the cache and unusual options; file systems allow 255 in all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdaptConfig:
    """The options of one member: its architecture and its training.

    They are explained in ``conf/adapt.yaml``, which has the same defaults.

    Raises:
        ValueError: an option is unknown or out of its range, or options contradict each other.
    """

    cache: str
    side: SideKind = "losa"
    rank: Literal["auto"] | Rank = "auto"
    heads: Heads = 4
    order: MixerOrder = "channel_token"
    norm: Norm = "frozen"
    pool: Literal["auto", Pool] = "auto"
    bias: bool = False
    start: Literal["auto", Start] = "auto"
    mixing: Literal["auto", Mixing] = "auto"
    probe_share: Literal["auto"] | ProbeShare = "auto"
    sites: int | str | list[int | str] = "all"
    label: OneOrMore = "label"
    class_weights: Literal["none", "balanced"] = "none"
    train_split: OneOrMore = "train800val200"
    views: Annotated[int, Field(ge=1)] = 1
    eval_split: str | list[str] = "test"
    val_split: str | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    halve_at: list[Annotated[int, Field(ge=1)]] = field(default_factory=list)
    protocol: Literal["direct", "select"] = "direct"
    select_train_split: OneOrMore = "train800"
    select_split: str = "val200"
    epochs: Annotated[int, Field(ge=1)] = 20
    stop_after: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 50
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Literal["auto"] | NotNegative = "auto"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    dropout: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: NotNegative = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    data_seed: int = 0
    device: str = "auto"
    residency: Literal["auto", "gpu", "ram", "stream"] = "auto"
    threads: Threads = "auto"
    compile: Literal["auto"] | bool = "auto"
    checkpoint_seconds: NotNegative = 60.0
    engine: EngineConfig = field(default_factory=EngineConfig)
    tracker: TrackerName | None = None
    out: str = "runs"
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raise a ValueError if options contradict each other."""
        if self.patience is not None and self.val_split is None:
            raise ValueError("patience=... needs a split to watch: val_split=...")
        if self.stop_after is not None and self.stop_after > self.epochs:
            raise ValueError(f"stop_after={self.stop_after}: expected at most epochs={self.epochs}")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"label=[{','.join(self.labels)}]: expected label columns, each once")
        self._refuse_impossible_halving()
        if self.protocol == "select":
            self._refuse_choice_on_scored_splits()

    def _refuse_impossible_halving(self) -> None:
        if not self.halve_at:
            return
        told = f"halve_at=[{','.join(map(str, self.halve_at))}]"
        if self.val_split is None:
            raise ValueError(
                f"{told} needs a split on which to compare members: val_split=... (training losses are no "
                "measure: label smoothing alone changes them)"
            )
        if self.halve_at != sorted(set(self.halve_at)):
            raise ValueError(f"{told}: expected epochs in ascending order, each once")
        if self.halve_at[-1] >= self.trained_epochs:
            raise ValueError(
                f"{told}: training ends after {self.trained_epochs} epochs, so expected epochs below that"
            )

    def _refuse_choice_on_scored_splits(self) -> None:
        for option, split in self.deciding_splits:
            if split in self.eval_splits:
                raise ValueError(
                    f"{option}={split} is also in eval_split: with protocol=select a split that is scored in "
                    f"the end has no part in the choice. Take another one ({option}=...), or score another "
                    "one (eval_split=...)"
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """The label columns, as a tuple."""
        return _as_tuple(self.label)

    @property
    def eval_splits(self) -> tuple[str, ...]:
        """The splits to score, as a tuple; empty if none is."""
        return _as_tuple(self.eval_split)

    @property
    def deciding_splits(self) -> tuple[tuple[str, str], ...]:
        """Options and their splits on which a choice depends: of an epoch, a member or a configuration."""
        deciding = [] if self.val_split is None else [("val_split", self.val_split)]
        if self.protocol == "select":
            deciding.append(("select_split", self.select_split))
            deciding += [("select_train_split", split) for split in self.select_train_splits]
        return tuple(deciding)

    @property
    def trained_epochs(self) -> int:
        """Number of epochs that a member is trained if nothing stops it earlier."""
        return self.stop_after or self.epochs

    @property
    def train_splits(self) -> tuple[str, ...]:
        """The splits to train on, each once."""
        return tuple(dict.fromkeys(_as_tuple(self.train_split)))

    @property
    def select_train_splits(self) -> tuple[str, ...]:
        """The splits to train on before the choice, each once."""
        return tuple(dict.fromkeys(_as_tuple(self.select_train_split)))

    @property
    def training_splits(self) -> tuple[str, ...]:
        """The splits that training reads: those of ``train_split``, or the splits of their views."""
        if self.views == 1:
            return self.train_splits
        return tuple(views_split(split, self.views) for split in self.train_splits)

    def architecture_for(self, tokens: TokenLayout) -> Architecture:
        """The options that determine the shape of the side network, none of them ``auto``.

        Args:
            tokens: layout of the tokens that it reads, on which ``pool`` and ``mixing`` depend.
        """
        options = {name: getattr(self, name) for name in Architecture.options()}
        options["rank"] = self.resolved_rank
        options["start"] = self.resolved_start
        options["probe_share"] = self.resolved_probe_share
        if self.pool == "auto":
            options["pool"] = "cls" if tokens.cls else "mean"
        if tokens.frames == 1:
            options["mixing"] = None
        elif self.mixing == "auto":
            options["mixing"] = "factorised"
        return Architecture(**options)

    @property
    def dropout_rate(self) -> float:
        """The dropout rate; that of the kind of side network if it is ``auto``, and 0 if it has no effect."""
        if "dropout" in self.idle_options:
            return 0.0
        return SIDE_NETWORKS[self.side].default_dropout if self.dropout == "auto" else self.dropout

    def weight_decay_over(self, steps: int) -> float:
        """The weight decay of a training of so many steps.

        A decoupled weight decay multiplies weights by ``1 - lr * weight_decay`` at each step, so the same
        number forgets more in a longer training. ``auto`` is ``1 / (lr * steps)``, which forgets the same in
        trainings of all lengths (Wang and Aitchison, arXiv 2405.13698). No step takes more than half of a
        weight. Momentum repeats each decay of SGD ``1 / (1 - momentum)`` times in all, so there it is less by
        that factor.

        Args:
            steps: number of steps of all epochs, at least 1.
        """
        if self.weight_decay != "auto":
            return self.weight_decay
        once = 1 / (self.lr * max(steps, 2))
        return once * (1 - self.momentum) if self.optimizer == "sgd" else once

    @property
    def idle_options(self) -> dict[str, str]:
        """Options that have no effect on this member -> what makes them idle, such as ``side=linear``."""
        of_side = idle_options(self.side, probe_share=self.resolved_probe_share)
        idle = dict.fromkeys(sorted(of_side), f"side={self.side}")
        if self.protocol == "direct":
            idle |= dict.fromkeys(("select_train_split", "select_split"), "protocol=direct")
        if self.optimizer != "sgd":
            idle["momentum"] = f"optimizer={self.optimizer}"
        return idle

    @property
    def resolved_rank(self) -> int:
        """The rank; that of the kind of side network if it is ``auto``."""
        return SIDE_NETWORKS[self.side].default_rank if self.rank == "auto" else self.rank

    @property
    def resolved_start(self) -> Start:
        """The site that LoSA's stream starts from; for ``auto`` the last, unless a probe reads it already."""
        if self.start != "auto":
            return self.start
        return "first" if self.resolved_probe_share else "last"

    @property
    def resolved_probe_share(self) -> float:
        """The probe's share; that of the kind of side network if it is ``auto``, 0 if it has no effect."""
        kind = SIDE_NETWORKS[self.side]
        if "probe_share" not in kind.options:
            return 0.0
        return kind.default_probe_share if self.probe_share == "auto" else self.probe_share

    @property
    def effective_rank(self) -> int | None:
        """The rank, as `resolved_rank`; None for a side network that has none."""
        return None if "rank" in self.idle_options else self.resolved_rank

    @functools.cached_property  # asked for again and again in a sweep
    def member_id(self) -> str:
        """Hash of all options that determine the result, by which a trained member is recognised.

        Idle options and the options that say where and how to train are left out. ``pool=auto`` counts as
        ``cls``, the default before it, and ``mixing=auto`` as ``joint``; where they stand for others,
        `resolved` says so before a member is trained or named.
        """
        return hashlib.sha256(canonical(self._identity)).hexdigest()[:10]

    @property
    def _identity(self) -> dict[str, Any]:
        """The options that determine the result, each in the one way in which it is hashed."""
        left_out = {*WHEREABOUTS, *self.idle_options}
        # These options were added later: members trained before them keep their id.
        if self.views == 1:
            left_out.add("views")
        if self.stop_after in (None, self.epochs):
            left_out.add("stop_after")
        if self.mixing != "factorised":
            left_out.add("mixing")
        if not self.resolved_probe_share:
            left_out.add("probe_share")
        content = {name: value for name, value in asdict(self).items() if name not in left_out}
        # An idle dropout was hashed before, too: members without dropout keep their id.
        content["dropout"] = self.dropout_rate
        # LST once dropped other values: members trained so are others.
        if self.side == "lst" and self.dropout_rate:
            content["dropout_place"] = "up"
        resolved = {
            "rank": self.resolved_rank,
            "start": self.resolved_start,
            "probe_share": self.resolved_probe_share,
        }
        content |= {name: value for name, value in resolved.items() if name in content}
        content["cache"] = os.path.normpath(self.cache)
        # Their order has no effect. Descending, so that members scored on val and test keep their id.
        content["eval_split"] = sorted(set(self.eval_splits), reverse=True)
        content["label"] = list(self.labels)
        # These options took lists later: a single name is hashed as before.
        content["train_split"] = _name_or_list(self.train_splits)
        if "select_train_split" in content:
            content["select_train_split"] = _name_or_list(self.select_train_splits)
        if content.get("pool") == "auto":
            content["pool"] = "cls"
        return content

    @property
    def member_name(self) -> str:
        """Name of the member's folder: the options that are swept most often, the cache, other options that
        do not have their defaults, as far as there is room, and the id.
        """
        return self._name_among({})

    @property
    def earlier_names(self) -> tuple[str, ...]:
        """The names that earlier versions gave to the member's folder, by fewer options or other defaults."""
        without_probe: dict[str, Any] = {"start": "last", "probe_share": 0.0}
        if self.side in ("mlp", "lst"):
            without_probe["dropout"] = 0.0
        versions = [without_probe | {"dropout": 0.0, "weight_decay": 1e-4}, without_probe]
        if self.side == "lst":
            versions.append({"dropout": 0.0})
        named = [self._name_among(earlier) for earlier in versions]
        return (f"{self._usual_name}-{self.member_id}", *named)

    def _name_among(self, earlier_defaults: dict[str, Any]) -> str:
        """The member's name where these options, if they have these values, have their defaults."""
        usual = AdaptConfig(
            cache=self.cache, side=self.side, protocol=self.protocol, optimizer=self.optimizer
        )._identity | {"protocol": "direct", "optimizer": "adamw", **earlier_defaults}
        parts = [_in_file_name(PurePosixPath(self.cache).name)]
        identity = self._identity
        if "probe_share" in usual:
            identity.setdefault("probe_share", 0.0)
        for name, value in identity.items():
            if name not in ("cache", "side", "rank", "lr", "seed") and value != usual.get(name):
                parts.append(_named(name, value))
        room = _LONGEST_NAME
        for number, part in enumerate(parts):
            room -= len(part) + 1
            if room < 0:
                parts = parts[:number]
                break
        return "-".join([self._usual_name, *parts, self.member_id])

    @property
    def _usual_name(self) -> str:
        """The options that are swept most often."""
        rank = self.effective_rank
        side = self.side if rank is None else f"{self.side}-r{rank}"
        return f"{side}-lr{self.lr:g}-seed{self.seed}"


def _named(name: str, value: Any) -> str:
    """An option in a file name: ``dropout0.1``, ``norm_layer``, ``halve_at_5+10``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{name}{value:g}"
    values = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else value]
    return f"{name}_{'+'.join(_in_file_name(str(item)) for item in values) or 'none'}"


def _in_file_name(text: str) -> str:
    """A text without signs that have a meaning in paths, in shells, or to Hydra."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text)


def _as_tuple(names: str | list[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _name_or_list(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)
