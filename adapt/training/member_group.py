"""Members of one pass that share an architecture: they form one network with one optimiser."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks import SideNetwork, make_side_network
from losa.adapt.side_networks.dropout import Dropout, DropoutKeys
from losa.adapt.training.optimizers import MemberOptimizer, make_optimizer
from losa.adapt.training.schedule import warmup_cosine
from losa.cache_format.common.device import to_device


@dataclass
class MemberGroup:
    """Members that are trained together. They are identified by their numbers in the pass."""

    numbers: list[int]
    """Number of each member in the pass, in the order of the members axis."""
    configs: list[AdaptConfig]
    """Configuration of each member, in the same order."""
    network: SideNetwork
    """The network of all members, on the compute device."""
    optimizer: MemberOptimizer
    """Updates the parameters of the network."""
    smoothing: Float[Tensor, "members"] = field(init=False)
    """Label smoothing of each member, on the device of the network."""
    dropout_rates: Float[Tensor, "members"] = field(init=False)
    """Dropout rate of each member, likewise."""
    dropout_keys: DropoutKeys | None = field(init=False)
    """The keys of their masks; None if no member uses dropout."""

    def __post_init__(self) -> None:
        """Copy options of the members to the device of the network."""
        self._copy_options()

    def numbers_of(self, steps: range, all_steps: int) -> Float64[Tensor, "steps numbers members"]:
        """The numbers that the optimiser needs for some steps of a training, copied to the device at once.

        Args:
            steps: numbers of the steps, from 0.
            all_steps: number of steps of the whole training.
        """
        rates = [self.lr(step, all_steps) for step in steps]
        return self.optimizer.numbers(steps.start, rates, self.weight_decay(all_steps))

    def dropout(
        self, step: int, first_image: int, known: Int64[Tensor, "places members"] | None
    ) -> Dropout | None:
        """The dropout of a step; None if no member uses dropout.

        Args:
            step: number of the step, from 0.
            first_image: place of the micro-batch's first image in its batch.
            known: keys of the step that are on the device, see `DropoutKeys.at`; None without dropout.
        """
        if self.dropout_keys is None or known is None:
            return None
        keys = functools.partial(self.dropout_keys.at, step=step, known=known)
        return Dropout(rates=self.dropout_rates, keys=keys, first_image=first_image)

    def lr(self, step: int, steps: int) -> list[float]:
        """Learning rate of each member at a step.

        Args:
            step: number of the step, from 0.
            steps: number of steps of the whole training.
        """
        return [config.lr * warmup_cosine(step, steps, config.warmup) for config in self.configs]

    def weight_decay(self, steps: int) -> list[float]:
        """Weight decay of each member.

        Args:
            steps: number of steps of the whole training.
        """
        return [config.weight_decay_over(steps) for config in self.configs]

    def keep(self, numbers: Sequence[int]) -> None:
        """Continue with some of the members.

        Args:
            numbers: numbers of the members to keep, in their new order.

        Raises:
            ValueError: a member is not in the group.
        """
        places = [self.numbers.index(number) for number in numbers]
        if len(places) == len(self.numbers):
            return
        self.numbers = list(numbers)
        self.configs = [self.configs[place] for place in places]
        self.network.keep(places)
        self.optimizer.keep(places, dict(self.network.named_parameters()))
        self._copy_options()

    def state(self) -> dict[str, Tensor]:
        """Parameters and optimiser state of all members, by name, the members axis first; not copied."""
        state: dict[str, Tensor] = dict(self.optimizer.member_state())
        state |= {f"parameter.{name}": value for name, value in self.network.named_parameters()}
        return {name: value.detach() for name, value in state.items()}

    def member_state(self, number: int) -> dict[str, Tensor]:
        """Parameters and optimiser state of one member, by name; views, not copies.

        Args:
            number: number of the member.

        Raises:
            ValueError: the member is not in the group.
        """
        place = self.numbers.index(number)
        return {name: value[place] for name, value in self.state().items()}

    def load_member_state(self, number: int, state: Mapping[str, Tensor]) -> None:
        """Load a state that `member_state` returned.

        Args:
            number: number of the member.
            state: its tensors by name, on any device.

        Raises:
            ValueError: the member is not in the group.
            KeyError: a name is missing.
            RuntimeError: a shape does not fit.
        """
        for name, value in self.member_state(number).items():
            value.copy_(state[name])

    def _copy_options(self) -> None:
        device = next(self.network.parameters()).device
        rates = [config.dropout_rate for config in self.configs]
        self.smoothing = to_device(torch.tensor([config.label_smoothing for config in self.configs]), device)
        self.dropout_rates = to_device(torch.tensor(rates), device)
        self.dropout_keys = (
            DropoutKeys([config.seed for config in self.configs], device) if any(rates) else None
        )


def make_group(
    numbers: Sequence[int],
    configs: Sequence[AdaptConfig],
    features: FeatureSpec,
    num_classes: int,
    device: str,
) -> MemberGroup:
    """A freshly initialised group.

    Args:
        numbers: numbers of the members in their pass.
        configs: configurations of the members, of one architecture and one kind of optimiser.
        features: features that the network reads.
        num_classes: number of class scores, over all label columns.
        device: the compute device, as torch names it.

    Returns:
        The group, whose network and optimiser are on the device.

    Raises:
        LosaError: the architecture does not fit the features.
    """
    seeds = [config.seed for config in configs]
    architecture = configs[0].architecture_for(features.tokens)
    network = make_side_network(architecture, features, num_classes, seeds).to(device)
    optimizer = make_optimizer(dict(network.named_parameters()), configs)
    return MemberGroup(list(numbers), list(configs), network, optimizer)
