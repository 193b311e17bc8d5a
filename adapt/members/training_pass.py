"""One pass over a cache: its members are trained together, validated, scored and saved."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from losa.adapt.members.listener import TrainingListener
from losa.adapt.members.member_files import BEST, Checkpoint
from losa.adapt.members.member_progress import MemberProgress, worse_half
from losa.adapt.members.pass_data import PassData
from losa.adapt.members.passes import make_groups
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.members.result_files import PassRecord, write_results
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.adapt.peak_memory import forget_peak, highest_bytes
from losa.adapt.training.losses import make_objective
from losa.adapt.training.member_epoch import MemberEpoch
from losa.adapt.training.scores import Scores, mean_accuracy
from losa.adapt.training.trainer import Trainer
from losa.cache_format import LosaError
from losa.cache_format.common.interruption import uninterrupted
from losa.cache_format.common.progress import OpenBar, progress_bar
from losa.cache_format.common.units import counted

_log = logging.getLogger(__name__)


class TrainingPass:
    """Trains members of one `pass_key`. Within the pass, members are identified by numbers."""

    def __init__(
        self,
        prepared: Sequence[PreparedJob],
        listener: TrainingListener | None = None,
        open_bar: OpenBar = progress_bar,
    ) -> None:
        """Prepare the progress of each member; no activations are read yet.

        Args:
            prepared: the members, of one `pass_key`. Their folders are locked by the caller.
            listener: told of each epoch and of the results.
            open_bar: makes what shows the progress, in the way of `progress_bar`.
        """
        first = prepared[0]
        self._open_bar = open_bar
        self._listener = listener
        self._config, self._first_name = first.config, first.config.member_name
        self._epoch, self._first_step, self._size = (
            (0, 0, None) if first.checkpoint is None else first.checkpoint.place
        )
        self._prepared = dict(enumerate(prepared))
        self._progress = {number: _progress(member) for number, member in self._prepared.items()}
        self._data = PassData(prepared)
        self._objective = make_objective(
            [column.num_classes for column in first.columns],
            first.training.labels,
            balanced=self._config.class_weights == "balanced",
            device=first.device,
        )
        self._started = self._saved = 0.0
        self._saved_place = self._epoch, self._first_step
        self._train_seconds: float | None = None
        self._remembered: set[int] = set()

    def run(self) -> list[Outcome]:
        """Train and score all members.

        If that ends early, by an error or a signal, the members' checkpoints are written first.

        Returns:
            For each member, in order, its summary or the `LosaError` that it failed with.
        """
        for number, member in self._prepared.items():
            with self._own_files(number):
                member.files.start(self._epoch)
        forget_peak(self._prepared[0].device)
        groups = make_groups(self._prepared)
        self._started = self._saved = time.perf_counter()
        data = self._data.load_training()
        trainer = Trainer(groups, data, self._objective, self._config, micro_batch_size=self._size)
        self._resume(trainer)
        try:
            self._train(trainer)
            self._train_seconds = self._seconds
            summaries = self._score(trainer)
        except (Exception, KeyboardInterrupt, SystemExit):  # Ctrl-C, and SIGTERM of a batch system
            if trainer.steady:
                self._save_checkpoints(trainer)
            raise
        self._remove_checkpoints()
        if self._listener is not None and summaries:
            self._listener.members_scored(self._first_name, list(summaries.values()))
        return [progress.error or summaries[number] for number, progress in self._progress.items()]

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _resume(self, trainer: Trainer) -> None:
        """Go on as from the last checkpoint, if there is one."""
        self._drop_stopped(trainer)
        checkpoints = {number: self._prepared[number].checkpoint for number in trainer.numbers}
        states = {number: found.state for number, found in checkpoints.items() if found is not None}
        if states:
            trainer.resume(self._epoch, self._first_step, states)
        if self._size is not None and trainer.groups:
            trainer.fit()
        if self._epoch or self._first_step:
            within = f", at step {self._first_step} of the next" if self._first_step else ""
            _log.info("%d members resume after epoch %d%s", len(self._prepared), self._epoch, within)

    def _train(self, trainer: Trainer) -> None:
        config = self._config
        validation = None if config.val_split is None else self._data.load_validation(config.val_split)
        title = counted(len(self._prepared), "member", "members")
        images = len(self._prepared[0].training)
        with self._open_bar(
            images * config.trained_epochs,
            title,
            "img",
            unit_scale=True,
            initial=images * self._epoch + trainer.images_of(self._epoch),
            counts=False,
        ) as bar:

            def after_step(images: int) -> None:
                bar.update(images)
                self._save_if_due(trainer)

            while self._epoch < config.trained_epochs and trainer.groups:
                results = trainer.epoch(self._epoch, after_step)
                self._drop_diverged(trainer, results)
                scores = (
                    {}
                    if validation is None
                    else trainer.evaluate(validation, lambda: self._save_if_due(trainer))
                )
                with trainer.changing():
                    accuracies = self._record(trainer, results, scores)
                    metrics = self._write_metrics(
                        {number: results[number] for number in trainer.numbers}, accuracies
                    )
                    self._stop_members(trainer)
                    self._epoch += 1
                # Also after the last epoch, because scoring takes its time.
                self._save_if_due(trainer)
                if self._listener is not None and metrics:
                    self._listener.epoch_ended(self._first_name, self._epoch - 1, metrics)
                bar.set_postfix_str(self._describe(results), refresh=False)

    def _describe(self, results: Mapping[int, MemberEpoch]) -> str:
        """The text behind the progress bar after an epoch."""
        told = f"epoch {self._epoch}/{self._config.trained_epochs}"
        best = max(progress.best_accuracy for progress in self._progress.values())
        if best >= 0:
            return f"{told}, best {self._config.val_split} {best:.4f}"
        losses = [result.train_loss for result in results.values()]
        return f"{told}, loss {min(losses):.4g}" + (f" to {max(losses):.4g}" if len(losses) > 1 else "")

    def _drop_diverged(self, trainer: Trainer, results: Mapping[int, MemberEpoch]) -> None:
        """Drop the members whose loss is not finite, before the others are scored."""
        lost = {number: result for number, result in results.items() if not result.finite}
        with trainer.changing():
            for number, result in lost.items():
                self._progress[number].record_epoch(result)
            self._write_metrics(lost, {})
            self._drop_stopped(trainer)

    def _record(
        self,
        trainer: Trainer,
        results: Mapping[int, MemberEpoch],
        scores: Mapping[int, Sequence[Scores] | None],
    ) -> dict[int, float]:
        """Record the losses and the scores of an epoch, and return the accuracies on the validation split."""
        accuracies = {}
        for number in trainer.numbers:
            self._progress[number].record_epoch(results[number])
        for number, found in scores.items():
            progress = self._progress[number]
            if found is None:
                progress.diverge(f"the scores of split {self._config.val_split!r} are NaN or infinite")
                continue
            accuracies[number] = mean_accuracy(found)
            is_best = progress.record_validation(self._epoch, accuracies[number])
            if is_best and progress.config.patience is not None:
                progress.best_parameters = _copy_parameters(trainer, number)
        return accuracies

    def _stop_members(self, trainer: Trainer) -> None:
        """Divergence, then early stopping, then successive halving."""
        epoch = self._epoch
        self._drop_stopped(trainer)
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

    def _write_metrics(
        self, results: Mapping[int, MemberEpoch], accuracies: Mapping[int, float]
    ) -> dict[str, dict[str, float]]:
        """Write the numbers of an epoch, and return those that are finite, by the names of the members."""
        told = {}
        for number, result in results.items():
            seconds = round(self._progress[number].pass_seconds + self._seconds, 3)
            metrics = {
                "lr": result.lr,
                "train_loss": result.train_loss,
                "train_accuracy": result.train_accuracy,
            }
            if number in accuracies:
                metrics["val_accuracy"] = accuracies[number]
            finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
            # JSON has no NaN.
            record = {
                "epoch": result.epoch,
                **{name: finite.get(name) for name in metrics},
                "seconds": seconds,
            }
            with self._own_files(number):
                self._prepared[number].files.add_metrics(record)
            told[self._prepared[number].config.member_name] = finite
        return told

    def _save_if_due(self, trainer: Trainer) -> None:
        # By time, not by steps or epochs: small members train hundreds of epochs in a minute.
        if time.perf_counter() - self._saved >= self._config.checkpoint_seconds:
            self._save_checkpoints(trainer)
            self._saved = time.perf_counter()

    def _save_checkpoints(self, trainer: Trainer) -> None:
        """Write the checkpoints of all members, unless they are written already.

        Those of stopped members are among them, and with halving those of members that diverged: they would
        be trained again after an interruption, apart from the members that they were compared with.
        """
        place = self._epoch, trainer.steps_of(self._epoch)
        if place == self._saved_place:
            return
        training = set(trainer.numbers)
        with uninterrupted():
            for number, progress in self._progress.items():
                member = self._prepared[number]
                if (progress.error is not None and not (progress.diverged and member.company)) or (
                    member.files.is_finished and not member.company
                ):
                    continue
                state = trainer.member_state(number, self._epoch) if number in training else {}
                with self._own_files(number):
                    member.files.save_checkpoint(self._checkpoint(trainer, number, state), member.origin)
        self._saved_place = place

    def _checkpoint(self, trainer: Trainer, number: int, state: Mapping[str, Tensor]) -> Checkpoint:
        progress, seconds, members = self._progress[number], self._seconds, len(self._prepared)
        train_seconds = seconds if self._train_seconds is None else self._train_seconds
        so_far = replace(
            progress,
            seconds=progress.seconds + seconds / members,
            train_seconds=progress.train_seconds + train_seconds / members,
            pass_seconds=progress.pass_seconds + seconds,
            micro_batch_sizes=progress.micro_batch_sizes_with(trainer.micro_batch_sizes),
        )
        best = {f"{BEST}{name}": value for name, value in progress.best_parameters.items()}
        return Checkpoint(
            epoch=self._epoch,
            step=trainer.steps_of(self._epoch),
            micro_batch_size=trainer.micro_batch_size,
            progress=so_far.to_json(),
            state={**state, **best},
        )

    def _remove_checkpoints(self) -> None:
        """Remove the checkpoints that are no longer needed; a company keeps or loses them as a whole."""
        done = {
            number: progress.error is None or progress.diverged for number, progress in self._progress.items()
        }
        for number, member in self._prepared.items():
            if all(done.values()) if member.company else done[number]:
                with self._own_files(number):
                    member.files.remove_checkpoint()

    @contextmanager
    def _own_files(self, number: int) -> Iterator[None]:
        """A context for the files of a member: if they cannot be written, this member fails, and no other."""
        progress, files = self._progress[number], self._prepared[number].files
        try:
            yield
        except OSError as error:
            if progress.error is None:
                kept = "Its checkpoint is kept" if files.checkpoint_path.exists() else "It has no checkpoint"
                progress.fail(LosaError(f"{error}. {kept}: remove the cause and run the same command again"))

    def _remember_divergence(self) -> None:
        """Write down which members have diverged, so that a later run does not repeat it."""
        for number, progress in self._progress.items():
            if progress.diverged and number not in self._remembered:
                self._remembered.add(number)
                member = self._prepared[number]
                with self._own_files(number):
                    member.files.save_divergence(str(progress.error), member.origin)

    def _score(self, trainer: Trainer) -> dict[int, MemberSummary]:
        """Score the members that have not failed, and write their results."""
        sizes = trainer.micro_batch_sizes
        trained = [number for number, progress in self._progress.items() if progress.error is None]
        if not trained:
            return {}
        scored = trainer
        if any(self._progress[number].best_parameters for number in trained):
            scored = self._with_best_parameters(trainer, trained)
        scores: dict[int, dict[str, list[Scores]]] = {number: {} for number in trained}
        for split in self._config.eval_splits:
            data = self._data.open_scored(split)
            for number, found in scored.evaluate(data, lambda: self._save_if_due(trainer)).items():
                if self._progress[number].error is not None:
                    continue
                if found is None:
                    self._progress[number].diverge(f"the scores of {data.name} are NaN or infinite")
                else:
                    scores[number][split] = found
        _tell_failed([self._progress[number] for number in trained])
        self._remember_divergence()
        record = PassRecord(
            members=len(self._prepared),
            seconds=self._seconds,
            train_seconds=self._train_seconds or 0.0,
            images=self._data.image_counts,
            residency=self._data.residency,
            diverged=[one.config.member_id for one in self._progress.values() if one.diverged],
            micro_batch_sizes=sizes,
            threads=torch.get_num_threads(),
            peak_bytes=highest_bytes(self._prepared[0].device),
        )
        summaries = {}
        for group in scored.groups:
            for place, number in enumerate(group.numbers):
                if self._progress[number].error is None:
                    with self._own_files(number):
                        summaries[number] = write_results(
                            self._prepared[number],
                            self._progress[number],
                            group.network,
                            place,
                            scores[number],
                            record,
                        )
        return summaries

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
