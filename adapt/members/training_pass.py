"""One pass: the members that share it are trained, watched, scored and written down."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.data.activations import CachedActivations
from losa.adapt.data.order import batch_count
from losa.adapt.data.residency import Residency, choose_residency
from losa.adapt.data.resident_activations import load_codes
from losa.adapt.members.jobs import LabelledImages, PreparedJob
from losa.adapt.members.member_files import Checkpoint
from losa.adapt.members.passes import make_groups
from losa.adapt.members.side_network_file import save_side_network
from losa.adapt.side_networks import idle_options
from losa.adapt.training.losses import make_objective
from losa.adapt.training.member_group import MemberGroup
from losa.adapt.training.scores import Scores, mean_accuracy
from losa.adapt.training.trainer import LabelledActivations, MemberEpoch, Trainer
from losa.cache_format import LosaError
from losa.cache_format.common.progress import progress_bar

_log = logging.getLogger(__name__)

Outcome = dict[str, Any] | LosaError
"""The summary of a member, or why there is none."""


@dataclass
class _Member:
    """How a member of the pass stands."""

    prepared: PreparedJob
    train_loss: float = math.nan
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    """Parameters of the best epoch, where epochs are compared."""
    stopped_after: int | None = None
    """Epochs done, where they are fewer than asked for."""
    pruned: bool = False

    @property
    def standing(self) -> float:
        """To compare members by: accuracy on the validation split, or the training loss, negative."""
        return self.best_accuracy if self.prepared.config.val_split else -self.train_loss


_PROGRESS = ("train_loss", "best_epoch", "best_accuracy", "stopped_after", "pruned")
"""What a checkpoint holds of a member besides its state."""


class TrainingPass:
    """Trains members of one `pass_key`."""

    def __init__(self, prepared: Sequence[PreparedJob]) -> None:
        """Read nothing yet.

        Args:
            prepared: the members. Their folders are locked by the caller.
        """
        self._members = {number: _Member(member) for number, member in enumerate(prepared)}
        self._outcomes: dict[int, Outcome] = {}
        first = prepared[0]
        self._config, self._cache, self._device = first.config, first.cache, first.device
        self._first_epoch = 0 if first.checkpoint is None else first.checkpoint.epoch
        read = {site for member in prepared for site in member.features.sites}
        self._sites = tuple(site for site in self._cache.sites if site in read)
        self._objective = make_objective(
            [column.num_classes for column in first.columns],
            first.training.labels,
            balanced=self._config.class_weights == "balanced",
            device=self._device,
        )
        self._training, self._scored = first.training, first.scored
        self._residency: Residency = "stream"
        self._started = 0.0

    def run(self) -> list[Outcome]:
        """Train and score all members; what became of each, in order."""
        groups = make_groups({number: member.prepared for number, member in self._members.items()})
        self._take_up_checkpoints(groups)
        for member in self._members.values():
            member.prepared.files.start(self._first_epoch)
        self._started = time.perf_counter()
        trainer = Trainer(groups, self._training_data(), self._objective, self._config)
        self._train(trainer)
        trained = time.perf_counter() - self._started
        self._score(trainer, trained)
        return [self._outcomes[number] for number in self._members]

    def _training_data(self) -> LabelledActivations:
        data = self._labelled(self._config.training_split, self._training)
        assert isinstance(data.source, CachedActivations), "what _labelled returns"
        positions = data.all_positions
        self._residency = choose_residency(
            self._config.residency,
            data.source.split,
            images=len(positions),
            epochs=self._config.epochs,
            device=self._device,
        )
        if self._residency == "stream":
            return data
        return replace(data, source=load_codes(data.source, positions, self._residency))

    def _labelled(self, split: str, images: LabelledImages) -> LabelledActivations:
        return LabelledActivations(
            source=CachedActivations(self._cache.split(split, self._sites), self._device),
            positions=images.positions,
            labels=images.labels,
            sites=self._sites,
            name=f"split {split!r}",
            views=images.views,
            stride=images.stride,
        )

    def _train(self, trainer: Trainer) -> None:
        config = self._config
        watched = config.val_split
        validation = None if watched is None else self._labelled(watched, self._scored[watched])
        saved = time.perf_counter()
        self._keep(trainer)
        names = [member.prepared.config.member_name for member in self._members.values()]
        title = names[0] if len(names) == 1 else f"{len(names)} members"
        with progress_bar(config.epochs, title, "epoch") as bar:
            bar.update(self._first_epoch)
            for epoch in range(self._first_epoch, config.epochs):
                if not trainer.groups:
                    break
                results = trainer.epoch(epoch)
                self._drop_diverged(trainer, results)
                accuracies = {} if validation is None else self._watch(trainer, validation, epoch)
                self._write_metrics(results, accuracies)
                self._stop_early(trainer, epoch)
                if epoch + 1 in config.halve_at and epoch + 1 < config.epochs:
                    self._halve(trainer, epoch)
                # The clock decides, not the epoch: small members train hundreds of epochs in a minute.
                # After the last one too: scoring reads what may turn out to be damaged.
                if time.perf_counter() - saved >= config.checkpoint_seconds:
                    self._save_checkpoints(trainer, epoch + 1)
                    saved = time.perf_counter()
                bar.set_postfix_str(_standing(results), refresh=False)
                bar.update()

    def _drop_diverged(self, trainer: Trainer, results: Mapping[int, MemberEpoch]) -> None:
        for number, result in results.items():
            self._members[number].train_loss = result.train_loss
            if not result.finite:
                self._diverged(number, f"the loss became NaN or infinite in epoch {result.epoch}")
        self._keep(trainer)

    def _watch(self, trainer: Trainer, validation: LabelledActivations, epoch: int) -> dict[int, float]:
        accuracies = {}
        for number, scores in trainer.evaluate(validation).items():
            if scores is None:
                self._diverged(number, f"the scores of {validation.name} are NaN or infinite")
                continue
            member = self._members[number]
            accuracies[number] = accuracy = mean_accuracy(scores)
            if accuracy > member.best_accuracy:
                member.best_accuracy, member.best_epoch = accuracy, epoch
                if member.prepared.config.patience is not None:
                    member.best_state = _parameters(trainer, number)
        self._keep(trainer)
        return accuracies

    def _stop_early(self, trainer: Trainer, epoch: int) -> None:
        for number in trainer.numbers:
            member = self._members[number]
            patience = member.prepared.config.patience
            best = member.best_epoch
            if patience is not None and best is not None and epoch - best >= patience:
                member.stopped_after = epoch + 1
        self._keep(trainer)

    def _halve(self, trainer: Trainer, epoch: int) -> None:
        numbers = trainer.numbers
        numbers.sort(key=lambda number: self._members[number].standing, reverse=True)
        for number in numbers[math.ceil(len(numbers) / 2) :]:
            member = self._members[number]
            member.stopped_after, member.pruned = epoch + 1, True
            member.best_state = member.best_state or _parameters(trainer, number)
        self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        trainer.keep(
            [
                number
                for number, member in self._members.items()
                if number not in self._outcomes and member.stopped_after is None
            ]
        )

    def _diverged(self, number: int, what: str) -> None:
        config = self._members[number].prepared.config
        message = (
            f"{config.member_name}: {what} (lr={config.lr:g}): use a smaller lr, or a norm (norm=frozen)"
        )
        self._outcomes[number] = LosaError(message)
        _log.warning("dropped %s", message)

    def _write_metrics(self, results: Mapping[int, MemberEpoch], accuracies: Mapping[int, float]) -> None:
        seconds = round(time.perf_counter() - self._started, 3)
        for number, result in results.items():
            record = {
                "epoch": result.epoch,
                "lr": result.lr,
                "train_loss": result.train_loss,
                "train_accuracy": result.train_accuracy,
            }
            if number in accuracies:
                record["val_accuracy"] = accuracies[number]
            # JSON has no NaN.
            finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
            self._members[number].prepared.files.add_metrics(finite | {"seconds": seconds})

    def _save_checkpoints(self, trainer: Trainer, epoch: int) -> None:
        states = {number: group.member_state(number) for group in trainer.groups for number in group.numbers}
        for number, member in self._members.items():
            if number in self._outcomes:
                continue
            # Of a member that has stopped only the best epoch is left. It is saved all the same, so that
            # after an interruption it is not trained again, apart from those it was compared with.
            state = states.get(number, {})
            state |= {f"best.{name}": value for name, value in member.best_state.items()}
            progress = {name: getattr(member, name) for name in _PROGRESS}
            checkpoint = Checkpoint(epoch=epoch, progress=progress, state=state)
            member.prepared.files.save_checkpoint(checkpoint, member.prepared.origin)

    def _take_up_checkpoints(self, groups: Sequence[MemberGroup]) -> None:
        images = len(self._training.positions)
        batches = batch_count(images, self._config.batch_size)
        for group in groups:
            for number in group.numbers:
                member = self._members[number]
                checkpoint = member.prepared.checkpoint
                if checkpoint is None:
                    continue
                member.best_state = {
                    name.removeprefix("best."): value
                    for name, value in checkpoint.state.items()
                    if name.startswith("best.")
                }
                for name, value in checkpoint.progress.items():
                    setattr(member, name, value)
                if member.stopped_after is None:
                    group.load_member_state(number, checkpoint.state)
            group.optimizer.steps = self._first_epoch * batches
        if self._first_epoch:
            _log.info("%d members go on after epoch %d", len(self._members), self._first_epoch)

    def _score(self, trainer: Trainer, train_seconds: float) -> None:
        scored = {number: member for number, member in self._members.items() if number not in self._outcomes}
        if not scored:
            return
        if any(member.best_state for member in scored.values()):
            trainer = self._with_best_states(trainer, scored)
        scores: dict[int, dict[str, list[Scores]]] = {number: {} for number in scored}
        for split in self._config.eval_splits:
            data = self._labelled(split, self._scored[split])
            for number, result in trainer.evaluate(data).items():
                if result is None:
                    self._diverged(number, f"the scores of {data.name} are NaN or infinite")
                else:
                    scores[number][split] = result
        seconds = time.perf_counter() - self._started
        for group in trainer.groups:
            for number in group.numbers:
                if number not in self._outcomes:
                    self._outcomes[number] = self._write(
                        group, number, scores[number], seconds, train_seconds
                    )

    def _with_best_states(self, trainer: Trainer, scored: Mapping[int, _Member]) -> Trainer:
        """All members that are to be scored, each with the parameters that count."""
        states = {
            number: member.best_state or _parameters(trainer, number) for number, member in scored.items()
        }
        groups = make_groups({number: member.prepared for number, member in scored.items()})
        for group in groups:
            for number in group.numbers:
                own = group.member_state(number)
                for name, value in states[number].items():
                    own[name].copy_(value)
        return trainer.with_groups(groups)

    def _write(
        self,
        group: MemberGroup,
        number: int,
        scores: Mapping[str, list[Scores]],
        seconds: float,
        train_seconds: float,
    ) -> dict[str, Any]:
        member = self._members[number]
        prepared, config = member.prepared, member.prepared.config
        folder = prepared.job.folder
        save_side_network(
            folder,
            group.network,
            group.numbers.index(number),
            self._cache.manifest.features,
            prepared.columns,
        )
        summary = {
            "member": config.member_id,
            "name": config.member_name,
            "status": "pruned" if member.pruned else "finished",
            "side": config.side,
            "rank": config.effective_rank,
            "lr": config.lr,
            "seed": config.seed,
            "accuracy": {split: mean_accuracy(columns) for split, columns in scores.items()},
            "scores": {
                split: {
                    column.name: {
                        "top1": found.accuracy,
                        "top5": found.top5_accuracy,
                        "mean_per_class": found.mean_per_class,
                        "images": found.images,
                    }
                    for column, found in zip(prepared.columns, columns, strict=True)
                }
                for split, columns in scores.items()
            },
            "train_loss": member.train_loss,
            "epochs": member.stopped_after or config.epochs,
            "best_epoch": member.best_epoch if config.patience is not None else None,
            "best_val_accuracy": member.best_accuracy if config.val_split else None,
            "parameters": group.network.parameter_count(),
            "head_parameters": group.network.head_parameter_count(),
            # What a member costs: the pass, divided among those that share it.
            "seconds": round(seconds / len(self._members), 3),
            "train_seconds": round(train_seconds / len(self._members), 3),
            "pass": {"members": len(self._members), "seconds": round(seconds, 3)},
            "images": {
                split: len(images.positions)
                for split, images in {config.training_split: self._training, **self._scored}.items()
            },
            "sites": list(prepared.features.sites),
            "device": self._device,
            "residency": self._residency,
            "options": _relevant_options(config),
            "cache": prepared.origin,
            "folder": str(folder),
        }
        confusion = {
            split: {
                column.name: found.confusion.tolist()
                for column, found in zip(prepared.columns, columns, strict=True)
            }
            for split, columns in scores.items()
        }
        prepared.files.finish(summary, confusion)
        return summary


def _relevant_options(config: AdaptConfig) -> dict[str, Any]:
    idle = idle_options(config.architecture)
    return {name: value for name, value in asdict(config).items() if name not in idle}


def _parameters(trainer: Trainer, number: int) -> dict[str, Tensor]:
    """Copies of one member's parameters, by their names in its state."""
    (group,) = (group for group in trainer.groups if number in group.numbers)
    state = group.member_state(number)
    return {name: value.clone() for name, value in state.items() if name.startswith("parameter.")}


def _standing(results: Mapping[int, MemberEpoch]) -> str:
    losses = [result.train_loss for result in results.values()]
    accuracies = [result.train_accuracy for result in results.values()]
    if len(losses) == 1:
        return f"loss {losses[0]:.4f}, train accuracy {accuracies[0]:.3f}"
    return f"loss {min(losses):.4f} to {max(losses):.4f}"
