"""Passes over a cache: which members can share one, and which of these form one network."""

import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from losa.adapt.members.preparation import PreparedJob
from losa.adapt.side_networks import effective_options, make_side_network
from losa.adapt.training.confusion import counting_bytes
from losa.adapt.training.member_group import MemberGroup, make_group
from losa.adapt.training.working_set import members_at_once

_log = logging.getLogger(__name__)


def pass_key(prepared: PreparedJob) -> Hashable:
    """A key that is equal for members that may share a pass.

    Those are members that read the same images in the same order, from the same step on.
    """
    return reading_key(prepared), _place(prepared)


def _place(prepared: PreparedJob) -> tuple[int, int, int | None]:
    """Where a member begins: epoch, step and size of the micro-batches."""
    checkpoint = prepared.checkpoint
    return (0, 0, None) if checkpoint is None else checkpoint.place


def reading_key(prepared: PreparedJob) -> Hashable:
    """A key that is equal for members that read the same images in the same order."""
    config = prepared.config
    return (
        tuple(sorted(prepared.origin["splits"].items())),
        prepared.origin["path"],
        prepared.origin["features_sha256"],
        prepared.origin["labels_sha256"],
        config.labels,
        config.class_weights,
        config.training_splits,
        config.eval_splits,
        config.val_split,
        config.epochs,
        config.stop_after,
        config.batch_size,
        config.data_seed,
        config.mixup,
        config.dtype,
        tuple(config.halve_at),
        config.residency,
        config.threads,
        config.compile,
        prepared.device,
    )


def group_key(prepared: PreparedJob) -> Hashable:
    """A key that is equal for members of a pass that may form one network with one optimiser."""
    config = prepared.config
    shape = tuple(sorted(effective_options(prepared.architecture).items()))
    return (shape, prepared.features.sites, config.optimizer)


def plan_passes(prepared: Sequence[PreparedJob]) -> list[list[PreparedJob]]:
    """Group members by the pass they belong to, in the order of each pass's first member.

    Successive halving compares members, so those with ``halve_at`` resume together or not at all. If an
    interruption has left them at different steps, all of them are trained from the start.
    """
    readings: dict[Hashable, list[PreparedJob]] = defaultdict(list)
    for member in prepared:
        readings[reading_key(member)].append(member)
    passes: dict[Hashable, list[PreparedJob]] = defaultdict(list)
    for members in readings.values():
        if members[0].config.halve_at and len({_place(member) for member in members}) > 1:
            _log.warning(
                "%d members with halve_at=%s were interrupted at different steps; they are "
                "trained from the start, to be compared with each other",
                len(members),
                members[0].config.halve_at,
            )
            members = [replace(member, checkpoint=None) for member in members]
        for member in members:
            passes[pass_key(member)].append(member)
    return list(passes.values())


def warn_of_several_halvings(prepared: Sequence[PreparedJob]) -> None:
    """Warn that successive halving compares fewer members than were asked for."""
    halved = len({reading_key(member) for member in prepared if member.config.halve_at})
    if halved > 1:
        _log.warning(
            "halve_at compares the members of each pass, and those of this sweep need %d passes, because "
            "they differ in options that a pass shares (such as data_seed or batch_size)",
            halved,
        )


def cut_to_memory(members: Sequence[PreparedJob]) -> list[list[PreparedJob]]:
    """Cut a pass into several smaller ones if memory does not hold all of its members at once."""
    kinds = {group_key(member): member for member in members}
    networks = [
        make_side_network(
            member.architecture,
            member.features,
            sum(column.num_classes for column in member.columns),
            [0],
        )
        for member in kinds.values()
    ]
    most = members_at_once(networks, members[0].device, _scoring_bytes(members[0])) if len(members) > 1 else 1
    if most < len(members) and members[0].config.halve_at:
        _log.warning(
            "memory holds %d of %d members at once: halve_at compares those of each pass", most, len(members)
        )
    return [list(members[start : start + most]) for start in range(0, len(members), most)]


def _scoring_bytes(member: PreparedJob) -> int:
    """The most bytes that counting a member's predictions takes, on the largest of its scored splits."""
    images = max(map(len, member.scored.values()), default=0)
    return sum(counting_bytes(images, column.num_classes) for column in member.columns)


def make_groups(prepared: dict[int, PreparedJob]) -> list[MemberGroup]:
    """The groups of a pass, freshly initialised.

    Args:
        prepared: the members, by their numbers in the pass.

    Raises:
        LosaError: an architecture does not fit its features.
    """
    by_key: dict[Hashable, list[int]] = defaultdict(list)
    for number, member in prepared.items():
        by_key[group_key(member)].append(number)
    groups = []
    for numbers in by_key.values():
        first = prepared[numbers[0]]
        num_classes = sum(column.num_classes for column in first.columns)
        configs = [prepared[number].config for number in numbers]
        groups.append(make_group(numbers, configs, first.features, num_classes, first.device))
    return groups
