"""The training loop: activations in, trained side network out. The backbone is nowhere in sight."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from losa.adapt.activations import ActivationSource, read_ahead
from losa.adapt.config import AdaptConfig
from losa.adapt.optimizers import make_optimizer
from losa.adapt.order import ordered_batches, shuffled_batches
from losa.adapt.schedule import warmup_cosine
from losa.adapt.side_networks import SideNetwork
from losa.cache_format import LosaError

_DIVERGED = "use a smaller lr, or a norm (norm=layer)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledActivations:
    """The images to train on or to score: a source, their positions in it, and their labels."""

    source: ActivationSource
    positions: Int64[np.ndarray, "images"]
    labels: Int64[np.ndarray, "images"]
    name: str = "the data"
    """What errors call them."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    def read(
        self, batches: Sequence[Int64[np.ndarray, "_"]]
    ) -> Iterator[Float[Tensor, "images sites tokens width"]]:
        """Activations of batches of rows, read ahead of the consumer."""
        return read_ahead(self.source, [self.positions[rows] for rows in batches])


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """What an epoch gave, for each member."""

    epoch: int
    lr: float
    """At the last step."""
    step_losses: Float[np.ndarray, "steps members"]
    train_accuracy: Float[np.ndarray, "members"]
    """Over the epoch's batches, while training."""

    @property
    def train_loss(self) -> Float[np.ndarray, "members"]:
        """Mean over the steps."""
        mean: np.ndarray = self.step_losses.mean(axis=0)
        return mean


def train(
    network: SideNetwork,
    data: LabelledActivations,
    config: AdaptConfig,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    optimizer: Optimizer | None = None,
) -> None:
    """Train all members of a network in place.

    Args:
        network: on the compute device.
        data: what to train on.
        config: optimiser, schedule, batch size, epochs and `data_seed`.
        on_epoch: called with the metrics of each epoch.
        optimizer: of the network's parameters, if it has been made already.

    Raises:
        LosaError: the loss became NaN or infinite.
    """
    device = next(network.parameters()).device
    optimizer = optimizer or make_optimizer(config, network)
    steps = config.epochs * -(-len(data) // config.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(min(step, steps - 1), steps, config.warmup)
    )
    network.train()
    for epoch in range(config.epochs):
        batches = shuffled_batches(len(data), config.batch_size, config.data_seed, epoch)
        losses, correct = [], torch.zeros(network.members, device=device)
        lr = 0.0
        for rows, activations in zip(batches, data.read(batches), strict=True):
            targets = torch.from_numpy(data.labels[rows]).to(device)
            scores = network(activations)
            loss = member_losses(scores, targets)
            optimizer.zero_grad()
            # The sum keeps members apart: no parameter of one appears in the loss of another.
            loss.sum().backward()
            optimizer.step()
            lr = float(scheduler.get_last_lr()[0])
            scheduler.step()
            losses.append(loss.detach())
            correct += (scores.detach().argmax(dim=-1) == targets).sum(dim=-1)
        metrics = EpochMetrics(
            epoch=epoch,
            lr=lr,
            step_losses=torch.stack(losses).cpu().numpy(),
            train_accuracy=(correct / len(data)).cpu().numpy(),
        )
        if not np.isfinite(metrics.step_losses).all():
            raise LosaError(
                f"the loss became NaN or infinite in epoch {epoch} (lr={config.lr:g}): {_DIVERGED}"
            )
        if on_epoch is not None:
            on_epoch(metrics)


def evaluate(
    network: SideNetwork, data: LabelledActivations, batch_size: int
) -> Float[np.ndarray, "members"]:
    """Top-1 accuracy of each member, as a fraction.

    Raises:
        LosaError: scores are NaN or infinite, as they may become with the very last update.
    """
    device = next(network.parameters()).device
    batches = ordered_batches(len(data), batch_size)
    network.eval()
    correct = torch.zeros(network.members, dtype=torch.int64, device=device)
    finite = torch.ones((), dtype=torch.bool, device=device)
    with torch.inference_mode():
        for rows, activations in zip(batches, data.read(batches), strict=True):
            targets = torch.from_numpy(data.labels[rows]).to(device)
            scores = network(activations)
            finite &= scores.isfinite().all()
            correct += (scores.argmax(dim=-1) == targets).sum(dim=-1)
    if not finite:
        raise LosaError(f"the scores of {data.name} are NaN or infinite: {_DIVERGED}")
    fractions: np.ndarray = correct.cpu().numpy() / len(data)
    return fractions


def member_losses(
    scores: Float[Tensor, "members images classes"], targets: Int64[Tensor, "images"]
) -> Float[Tensor, "members"]:
    """Cross-entropy of each member, averaged over images."""
    members = scores.shape[0]
    losses = functional.cross_entropy(scores.flatten(0, 1), targets.repeat(members), reduction="none")
    return losses.view(members, -1).mean(dim=1)
