"""What a member gives in a pass with others is what it gives alone.

Alone means alone: a plain loop over the plain stream, one network of one member, torch's own optimisers,
schedules and losses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from losa.adapt import (
    AdaptConfig,
    FeatureSpec,
    FrozenFeatures,
    LabelledActivations,
    MemberGroup,
    SideNetwork,
    Trainer,
    make_group,
    make_side_network,
)
from losa.adapt.data.order import shuffled_batches
from losa.adapt.side_networks import SIDE_NETWORKS, effective_options
from losa.adapt.streams import Materialised
from losa.adapt.training.losses import make_objective
from losa.adapt.training.optimizers import OPTIMIZERS, make_optimizer
from losa.adapt.training.schedule import warmup_cosine

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

EPOCHS, BATCH, IMAGES = 2, 8, 30
SHARED = {"epochs": EPOCHS, "batch_size": BATCH, "data_seed": 5, "heads": 2}
COMPANY: list[dict[str, Any]] = [
    {"side": "losa", "rank": 4, "seed": 9, "lr": 0.5, "dropout": 0.5, "optimizer": "sgd"},
    {"side": "losa", "rank": 4, "seed": 7, "lr": 0.06, "dropout": 0.4, "norm": "frozen"},
    {"side": "losa", "rank": 4, "seed": 3, "lr": 1e-3, "norm": "frozen", "label_smoothing": 0.5},
    {"side": "losa", "rank": 2, "seed": 3, "norm": "frozen", "order": "token_channel"},
    {"side": "last", "rank": 4, "seed": 8, "weight_decay": 0.5, "dropout": 0.2, "norm": "frozen"},
    {"side": "last", "rank": 6, "seed": 3, "sites": 2, "optimizer": "sgd", "momentum": 0.0},
    {"side": "linear", "seed": 4, "lr": 1.0, "warmup": 0.5},
    {"side": "linear", "seed": 4, "pool": "mean", "optimizer": "sgd"},
]


@dataclass
class Setting:
    """Toy data, and what all members read of it."""

    features: FeatureSpec
    data: LabelledActivations
    make_config: Callable[..., AdaptConfig]

    def config(self, **options: Any) -> AdaptConfig:
        return self.make_config(**(SHARED | options))

    def member(self, side: str, norm: str, optimizer: str, **options: Any) -> AdaptConfig:
        """The one that is looked at; no option is the default's or one of its company."""
        own = {"rank": 4, "seed": 3, "lr": 0.03, "weight_decay": 0.2, "momentum": 0.6, "warmup": 0.2}
        own |= {"label_smoothing": 0.125, "side": side, "norm": norm, "optimizer": optimizer}
        return self.config(**(own | options))

    def read_by(self, config: AdaptConfig) -> FeatureSpec:
        """The features that a member reads."""
        sites = self.features.sites[-config.sites :] if isinstance(config.sites, int) else self.features.sites
        return replace(
            self.features, sites=sites[-1:] if SIDE_NETWORKS[config.side].reads_last_site_only else sites
        )

    def trainer(self, configs: list[AdaptConfig], double: bool = False, micro_batch_size: int = 5) -> Trainer:
        """All of them in one pass; members that may share a network do."""
        kinds: dict[Any, list[int]] = {}
        for number, config in enumerate(configs):
            shape = effective_options(config.architecture_for(self.features.tokens))
            key = (tuple(shape.items()), config.sites, config.optimizer)
            kinds.setdefault(str(key), []).append(number)
        groups = []
        for numbers in kinds.values():
            chosen = [configs[number] for number in numbers]
            group = make_group(numbers, chosen, self.read_by(chosen[0]), 3, "cpu")
            if double:
                group.network.double()
                group.optimizer = make_optimizer(dict(group.network.named_parameters()), chosen)
            groups.append(group)
        objective = make_objective([3], self.data.images.labels, balanced=False, device="cpu")
        return Trainer(groups, self.data, objective, configs[0], micro_batch_size=micro_batch_size)

    def alone(self, config: AdaptConfig, network: SideNetwork) -> "Alone":
        places = [self.features.sites.index(site) for site in network.features.sites]
        return Alone(config, network, self.data, places)


class Alone:
    """The plain loop. Nothing here comes from the trainer but the order of images and the schedule."""

    def __init__(
        self, config: AdaptConfig, network: SideNetwork, data: LabelledActivations, places: list[int]
    ) -> None:
        self.config, self.network = config, network
        self.activations = data.source.activations[:, places]  # type: ignore[attr-defined]
        self.labels = torch.from_numpy(data.images.labels[:, 0])
        decayed, free = [], []
        for name, parameter in network.named_parameters():
            (free if "norm" in name or "bias" in name else decayed).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(groups, lr=config.lr)
        else:
            self.optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
        steps = EPOCHS * -(-len(self.labels) // BATCH)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: warmup_cosine(step, steps, config.warmup) if step < steps else 0.0
        )

    def gradients(self, rows: np.ndarray) -> float:
        activations = self.activations[rows]
        plain = Materialised(
            FrozenFeatures(activations, activations.dtype),
            self.network.stream_sites(),
            members=1,
            norm=self.config.norm,
            tokens=self.network.features.tokens,
        )
        self.network.open_stream = lambda features: plain  # type: ignore[method-assign]
        (scores,) = self.network(FrozenFeatures(activations))
        smoothing = self.config.label_smoothing
        loss = functional.cross_entropy(scores, self.labels[rows], label_smoothing=smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        return loss.item()

    def epoch(self, number: int) -> list[float]:
        losses = []
        for rows in shuffled_batches(len(self.labels), BATCH, self.config.data_seed, number):
            losses.append(self.gradients(rows))
            self.optimizer.step()
            self.schedule.step()
        return losses


@pytest.fixture
def setting(make_features: Any, toy_data: Any, make_config: Any) -> Setting:
    """Three sites, thirty images, three classes."""
    features = make_features()
    return Setting(features, toy_data(features, images=IMAGES), make_config)


@pytest.fixture
def in_double(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """The same in float64."""
    monkeypatch.setattr("losa.adapt.training.trainer._DTYPES", {"float32": torch.float64})
    source = type(setting.data.source)(setting.data.source.activations.double())  # type: ignore[attr-defined]
    return replace(setting, data=replace(setting.data, source=source))


@pytest.fixture
def members() -> list[dict[str, Any]]:
    """Options of those that are looked at: every side network with every norm and optimiser."""
    return [
        {"side": side, "norm": norm, "optimizer": optimizer}
        for side in SIDE_NETWORKS
        for norm in ("frozen", "layer")
        for optimizer in OPTIMIZERS
    ]


def with_company(setting: Setting, members: list[AdaptConfig]) -> list[AdaptConfig]:
    """A pass that begins with the members."""
    others = [setting.config(**options) for options in COMPANY]
    return [*members, *others]


def group_of(trainer: Trainer, number: int) -> MemberGroup:
    (group,) = (group for group in trainer.groups if number in group.numbers)
    return group


def alone_like(setting: Setting, config: AdaptConfig, group: MemberGroup, number: int) -> Alone:
    """The plain loop, with the member's parameters as they are."""
    architecture = config.architecture_for(setting.features.tokens)
    network = make_side_network(architecture, setting.read_by(config), 3, [config.seed])
    network = network.to(next(group.network.parameters()).dtype)
    state = group.member_state(number)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(state[f"parameter.{name}"])
    return setting.alone(config, network)


def differences(alone: Alone, group: MemberGroup, number: int, of: str) -> Iterator[tuple[str, torch.Tensor]]:
    place = group.numbers.index(number)
    theirs = dict(group.network.named_parameters())
    for name, parameter in alone.network.named_parameters():
        mine, other = (getattr(each, of) if of == "grad" else each for each in (parameter, theirs[name]))
        yield name, (mine[0] - other[place]).detach().abs().max()


def test_gradients(members: list[dict[str, Any]], in_double: Setting, randomise: Any) -> None:
    """In float64, of a batch that is computed in micro-batches: within 1e-9."""
    looked_at = [in_double.member(**options) for options in members]
    configs = [replace(config, batch_size=IMAGES) for config in with_company(in_double, looked_at)]
    trainer = in_double.trainer(configs, double=True)
    for group in trainer.groups:
        randomise(group.network)
    alone = [
        alone_like(in_double, config, group_of(trainer, number), number)
        for number, config in enumerate(looked_at)
    ]
    found = trainer.epoch(0)
    for number, each in enumerate(alone):
        loss = each.gradients(shuffled_batches(IMAGES, IMAGES, each.config.data_seed, 0)[0])
        assert found[number].step_losses == pytest.approx([loss], abs=1e-5)  # reported in float32
        for name, difference in differences(each, group_of(trainer, number), number, "grad"):
            assert difference < 1e-9, (members[number], name)


def test_training(members: list[dict[str, Any]], setting: Setting) -> None:
    """Eight steps in float32: losses and parameters within 1e-4 (parameters are about 1)."""
    looked_at = [setting.member(**options) for options in members]
    trainer = setting.trainer(with_company(setting, looked_at))
    alone = [
        alone_like(setting, config, group_of(trainer, number), number)
        for number, config in enumerate(looked_at)
    ]
    for epoch in range(EPOCHS):
        found = trainer.epoch(epoch)
        for number, each in enumerate(alone):
            np.testing.assert_allclose(
                found[number].step_losses, each.epoch(epoch), rtol=0, atol=1e-4, err_msg=str(members[number])
            )
    for number, each in enumerate(alone):
        for name, difference in differences(each, group_of(trainer, number), number, "data"):
            assert difference < 1e-4, (members[number], name)


def test_training_with_dropout(members: list[dict[str, Any]], setting: Setting) -> None:
    """Masks are a member's own: alone in a pass against in company, whole batches against micro-batches."""
    looked_at = [setting.member(**options, dropout=0.3) for options in members]
    company = setting.trainer(with_company(setting, looked_at))
    together = [company.epoch(epoch) for epoch in range(EPOCHS)]
    for number, config in enumerate(looked_at):
        alone = setting.trainer([config], micro_batch_size=BATCH)
        for epoch in range(EPOCHS):
            mine, theirs = alone.epoch(epoch)[0], together[epoch][number]
            np.testing.assert_allclose(mine.step_losses, theirs.step_losses, rtol=0, atol=1e-4)
            assert mine.lr == theirs.lr
        expected = group_of(company, number).member_state(number)
        for name, value in group_of(alone, 0).member_state(0).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-4, msg=f"{config} {name}")


def test_dropout_does_something(setting: Setting) -> None:
    """Or the test above would prove nothing."""
    losses = [
        setting.trainer([setting.member("losa", "frozen", "adamw", dropout=rate)]).epoch(0)[0]
        for rate in (0.0, 0.3)
    ]
    assert np.abs(losses[0].step_losses - losses[1].step_losses).max() > 3e-3
