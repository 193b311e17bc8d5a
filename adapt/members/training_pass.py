"""One pass over a cache: its members are trained together, validated, scored and saved."""

import logging
import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from losa.adapt.data.order import batch_count
from losa.adapt.members.member_progress import MemberProgress, worse_half
from losa.adapt.members.pass_data import PassData
from losa.adapt.members.passes import make_groups
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.members.result_files import PassRecord, write_results
from losa.adapt.members.snapshot import Snapshot
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.adapt.training.losses import make_objective
from losa.adapt.training.member_group import MemberGroup
from losa.adapt.training.scores import Scores, mean_accuracy
from losa.adapt.training.trainer import LabelledActivations, MemberEpoch, Trainer
from losa.cache_format.common.progress import progress_bar

_log = logging.getLogger(__name__)


class TrainingPass:
    """Trains members of one `pass_key`. Within the pass, members are identified by numbers."""

    def __init__(self, prepared: Sequence[PreparedJob]) -> None:
        """Prepare the progress of each member; no activations are read yet.

        Args:
            prepared: the members, of one `pass_key`. Their folders are locked by the caller.
        """
        first = prepared[0]
        self._config = first.config
        self._first_epoch = 0 if first.checkpoint is None else first.checkpoint.epoch
        self._prepared = dict(enumerate(prepared))
        self._progress = {number: _progress(member) for number, member in self._prepared.items()}
        self._data = PassData(prepared)
        self._objective = make_objective(
            [column.num_classes for column in first.columns],
            first.training.labels,
            balanced=self._config.class_weights == "balanced",
            device=first.device,
        )
        self._started = 0.0
        self._unsaved: Snapshot | None = None

    def run(self) -> list[Outcome]:
        """Train and score all members.

        Returns:
            For each member, in order, its summary or the `LosaError` that it failed with.
        """
        groups = self._make_groups()
        for member in self._prepared.values():
            member.files.start(self._first_epoch)
        self._started = time.perf_counter()
        trainer = Trainer(groups, self._data.load_training(), self._objective, self._config)
        try:
            self._train(trainer)
            summaries = self._score(trainer, train_seconds=self._seconds)
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, and SIGTERM of a batch system
            self._save_checkpoints()
            raise
        self._remember_divergence()
        return [progress.error or summaries[number] for number, progress in self._progress.items()]

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _make_groups(self) -> list[MemberGroup]:
        """The groups of the pass, as they were at the last checkpoint."""
        groups = make_groups(self._prepared)
        batches = batch_count(len(self._prepared[0].training), self._config.batch_size)
        for group in groups:
            for number in group.numbers:
                checkpoint = self._prepared[number].checkpoint
                if checkpoint is not None and self._progress[number].is_training:
                    group.load_member_state(number, checkpoint.state)
            group.optimizer.steps = self._first_epoch * batches
        if self._first_epoch:
            _log.info("%d members resume after epoch %d", len(self._prepared), self._first_epoch)
        return groups

    def _train(self, trainer: Trainer) -> None:
        config = self._config
        validation = None if config.val_split is None else self._data.open_scored(config.val_split)
        saved = time.perf_counter()
        self._drop_stopped(trainer)
        title = "1 member" if len(self._prepared) == 1 else f"{len(self._prepared)} members"
        images = len(self._prepared[0].training)
        with progress_bar(
            images * config.trained_epochs,
            title,
            "img",
            unit_scale=True,
            initial=images * self._first_epoch,
            counts=False,
        ) as bar:
            for epoch in range(self._first_epoch, config.trained_epochs):
                if not trainer.groups:
                    break
                results = trainer.epoch(epoch, bar.update)
                for number, result in results.items():
                    self._progress[number].record_epoch(result)
                self._drop_stopped(trainer)
                accuracies = {} if validation is None else self._validate(trainer, validation, epoch)
                self._write_metrics(results, accuracies)
                self._stop_members(trainer, epoch)
                self._unsaved = Snapshot.take(epoch + 1, self._seconds, self._progress, trainer.groups)
                # By time, not by epochs: small members train hundreds of epochs in a minute. Also after the
                # last epoch, because scoring may find damaged data.
                if time.perf_counter() - saved >= config.checkpoint_seconds:
                    self._save_checkpoints()
                    saved = time.perf_counter()
                bar.set_postfix_str(self._describe(epoch, results), refresh=False)

    def _describe(self, epoch: int, results: Mapping[int, MemberEpoch]) -> str:
        """The text behind the progress bar after an epoch."""
        told = f"epoch {epoch + 1}/{self._config.trained_epochs}"
        best = max(progress.best_accuracy for progress in self._progress.values())
        if best >= 0:
            return f"{told}, best {self._config.val_split} {best:.4f}"
        losses = [result.train_loss for result in results.values()]
        return f"{told}, loss {min(losses):.4g}" + (f" to {max(losses):.4g}" if len(losses) > 1 else "")

    def _validate(self, trainer: Trainer, validation: LabelledActivations, epoch: int) -> dict[int, float]:
        """Accuracy of each member on the validation split."""
        accuracies = {}
        for number, scores in trainer.evaluate(validation).items():
            progress = self._progress[number]
            if scores is None:
                progress.fail(f"the scores of {validation.name} are NaN or infinite")
                continue
            accuracies[number] = mean_accuracy(scores)
            is_best = progress.record_validation(epoch, accuracies[number])
            if is_best and progress.config.patience is not None:
                progress.best_parameters = _copy_parameters(trainer, number)
        self._drop_stopped(trainer)
        return accuracies

    def _stop_members(self, trainer: Trainer, epoch: int) -> None:
        """Early stopping, then successive halving."""
        for number in trainer.numbers:
            if self._progress[number].is_out_of_patience(epoch):
                self._progress[number].stopped_after = epoch + 1
        self._drop_stopped(trainer)
        if epoch + 1 in self._config.halve_at:
            for number in worse_half({number: self._progress[number] for number in trainer.numbers}):
                progress = self._progress[number]
                progress.stopped_after, progress.pruned = epoch + 1, True
                progress.best_parameters = progress.best_parameters or _copy_parameters(trainer, number)
            self._drop_stopped(trainer)

    def _drop_stopped(self, trainer: Trainer) -> None:
        _tell_failed([self._progress[number] for number in trainer.numbers])
        self._remember_divergence()
        trainer.keep([number for number, progress in self._progress.items() if progress.is_training])

    def _write_metrics(self, results: Mapping[int, MemberEpoch], accuracies: Mapping[int, float]) -> None:
        for number, result in results.items():
            seconds = round(self._progress[number].pass_seconds + self._seconds, 3)
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
            self._prepared[number].files.add_metrics(finite | {"seconds": seconds})

    def _save_checkpoints(self) -> None:
        """Write the checkpoints of the last whole epoch, unless they are written already."""
        snapshot, self._unsaved = self._unsaved, None
        for number, checkpoint in () if snapshot is None else snapshot.checkpoints():
            if self._progress[number].error is None:
                member = self._prepared[number]
                member.files.save_checkpoint(checkpoint, member.origin)

    def _remember_divergence(self) -> None:
        """Write down which members have diverged, so that a later run does not repeat it."""
        for number, progress in self._progress.items():
            member = self._prepared[number]
            if progress.error is not None and not member.files.has_diverged:
                member.files.save_divergence(str(progress.error), member.origin)

    def _score(self, trainer: Trainer, train_seconds: float) -> dict[int, MemberSummary]:
        """Score the members that have not failed, and write their results."""
        trained = [number for number, progress in self._progress.items() if progress.error is None]
        if not trained:
            return {}
        if any(self._progress[number].best_parameters for number in trained):
            trainer = self._with_best_parameters(trainer, trained)
        scores: dict[int, dict[str, list[Scores]]] = {number: {} for number in trained}
        for split in self._config.eval_splits:
            data = self._data.open_scored(split)
            for number, found in trainer.evaluate(data).items():
                if found is None:
                    self._progress[number].fail(f"the scores of {data.name} are NaN or infinite")
                else:
                    scores[number][split] = found
        _tell_failed([self._progress[number] for number in trained])
        record = PassRecord(
            members=len(self._prepared),
            seconds=self._seconds,
            train_seconds=train_seconds,
            images=self._data.image_counts,
            residency=self._data.residency,
            failed=[one.config.member_id for one in self._progress.values() if one.error is not None],
            threads=torch.get_num_threads(),
        )
        return {
            number: write_results(
                self._prepared[number], self._progress[number], group.network, place, scores[number], record
            )
            for group in trainer.groups
            for place, number in enumerate(group.numbers)
            if self._progress[number].error is None
        }

    def _with_best_parameters(self, trainer: Trainer, numbers: Sequence[int]) -> Trainer:
        """A trainer of these members, stopped ones included, each with the parameters to score."""
        parameters = {
            number: self._progress[number].best_parameters or _copy_parameters(trainer, number)
            for number in numbers
        }
        groups = make_groups({number: self._prepared[number] for number in numbers})
        for group in groups:
            for number in group.numbers:
                state = group.member_state(number)
                for name, value in parameters[number].items():
                    state[name].copy_(value)
        return trainer.with_groups(groups)


def _progress(prepared: PreparedJob) -> MemberProgress:
    if prepared.checkpoint is None:
        return MemberProgress(prepared.config)
    return MemberProgress.from_checkpoint(prepared.config, prepared.checkpoint)


def _tell_failed(trained: Sequence[MemberProgress]) -> None:
    """Log in one line which of the members trained so far have failed."""
    failed = [progress.error for progress in trained if progress.error is not None]
    if len(failed) == 1:
        _log.warning("dropped %s", failed[0])
    elif failed:
        _log.warning("dropped %d members, the first of them %s", len(failed), failed[0])


def _copy_parameters(trainer: Trainer, number: int) -> dict[str, Tensor]:
    """Copies of a member's parameters, by their names in its state."""
    (group,) = (group for group in trainer.groups if number in group.numbers)
    state = group.member_state(number)
    return {name: value.clone() for name, value in state.items() if name.startswith("parameter.")}
