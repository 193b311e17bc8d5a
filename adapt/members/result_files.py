"""Writes the results of a trained member: side network, confusion and summary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from losa.adapt.data.residency import Residency
from losa.adapt.members.member_progress import MemberProgress
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.members.summary import ColumnScores, Company, MemberSummary, SharedPass
from losa.adapt.side_networks import SideNetwork, idle_options
from losa.adapt.trained.files import save_side_network
from losa.adapt.training.scores import Scores, mean_accuracy
from losa.cache_format.manifest import WEIGHTS_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """Facts about a pass that are part of the summary of each member."""

    members: int
    seconds: float
    """Duration, scoring included."""
    train_seconds: float
    images: Mapping[str, int]
    """Number of images used of each split."""
    residency: Residency
    diverged: Sequence[str]
    """Ids of the members that diverged."""
    micro_batch_sizes: Sequence[int]
    """Number of images that were computed at once in training, in turn."""
    threads: int
    """Number of threads that computed on the CPU."""
    peak_bytes: int
    """The most memory in use; see `SharedPass`."""


def write_results(
    prepared: PreparedJob,
    progress: MemberProgress,
    network: SideNetwork,
    place: int,
    scores: Mapping[str, Sequence[Scores]],
    record: PassRecord,
) -> MemberSummary:
    """Write the results of a member into its folder, and return the summary.

    Args:
        prepared: the member.
        progress: its progress, at the end.
        network: the network that holds the member's parameters.
        place: index of the member on the members axis of the network.
        scores: for each scored split the scores of every label column.
        record: the pass.
    """
    config, columns = prepared.config, prepared.columns
    folder = prepared.job.folder
    idle = idle_options(config.side, probe_share=config.resolved_probe_share)
    manifest = prepared.cache.manifest
    origin = {name: value for name, value in manifest.provenance.items() if name in WEIGHTS_ORIGIN}
    save_side_network(folder, network, place, manifest.features, columns, origin)
    summary = MemberSummary(
        member=config.member_id,
        name=config.member_name,
        status="pruned" if progress.pruned else "finished",
        side=config.side,
        rank=config.effective_rank,
        lr=config.lr,
        seed=config.seed,
        accuracy={split: mean_accuracy(found) for split, found in scores.items()},
        scores={
            split: {
                column.name: ColumnScores(
                    top1=each.accuracy,
                    top5=each.top5_accuracy,
                    mean_per_class=each.mean_per_class,
                    images=each.images,
                )
                for column, each in zip(columns, found, strict=True)
            }
            for split, found in scores.items()
        },
        train_loss=progress.train_loss,
        epochs=progress.stopped_after or config.trained_epochs,
        best_epoch=progress.best_epoch if config.patience is not None else None,
        best_val_accuracy=progress.kept_accuracy,
        parameters=network.parameter_count(),
        head_parameters=network.head_parameter_count(),
        seconds=round(progress.seconds + record.seconds / record.members, 3),
        train_seconds=round(progress.train_seconds + record.train_seconds / record.members, 3),
        shared_pass=SharedPass(
            members=record.members,
            seconds=round(progress.pass_seconds + record.seconds, 3),
            peak_bytes=record.peak_bytes,
        ),
        images=dict(record.images),
        sites=list(prepared.features.sites),
        device=prepared.device,
        residency=record.residency,
        options={name: value for name, value in asdict(config).items() if name not in idle},
        cache=prepared.origin,
        folder=str(folder),
        company=Company(members=list(prepared.company), failed=list(record.diverged))
        if prepared.company
        else None,
        micro_batch_sizes=progress.micro_batch_sizes_with(record.micro_batch_sizes),
        threads=record.threads,
    )
    confusion = {
        "classes": {column.name: column.classes for column in columns},
        "splits": {
            split: {
                column.name: each.confusion.to_json() for column, each in zip(columns, found, strict=True)
            }
            for split, found in scores.items()
        },
    }
    prepared.files.finish(summary, confusion)
    return summary
