"""Which members can be trained in one pass over a cache, and which of them form one network."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

from losa.adapt.jobs import PreparedJob
from losa.adapt.member_group import MemberGroup, make_group
from losa.adapt.side_networks import make_side_network
from losa.adapt.working_set import members_at_once


def pass_key(prepared: PreparedJob) -> Hashable:
    """Equal for members that may share a pass: they read the same images in the same order."""
    config = prepared.config
    return (
        tuple(sorted(prepared.origin["splits"].items())),
        prepared.origin["path"],
        prepared.origin["features_sha256"],
        prepared.origin["labels_sha256"],
        config.labels,
        config.class_weights,
        config.training_split,
        config.eval_splits,
        config.val_split,
        config.epochs,
        config.batch_size,
        config.data_seed,
        config.mixup,
        config.dtype,
        tuple(config.halve_at),
        config.residency,
        prepared.device,
        0 if prepared.checkpoint is None else prepared.checkpoint.epoch,
    )


def group_key(prepared: PreparedJob) -> Hashable:
    """Equal for members of a pass that may form one network with one optimiser."""
    config = prepared.config
    shape = tuple(sorted(config.architecture.relevant().items()))
    return (shape, prepared.features.sites, config.optimizer)


def plan_passes(prepared: Sequence[PreparedJob]) -> list[list[PreparedJob]]:
    """Members by the pass they belong to, in the order of their first."""
    passes: dict[Hashable, list[PreparedJob]] = defaultdict(list)
    for member in prepared:
        passes[pass_key(member)].append(member)
    return list(passes.values())


def cut_to_memory(members: Sequence[PreparedJob]) -> list[list[PreparedJob]]:
    """A pass, or several smaller ones if memory does not hold all of its members at once."""
    kinds = {group_key(member): member for member in members}
    networks = [
        make_side_network(
            member.config.architecture,
            member.features,
            sum(column.num_classes for column in member.columns),
            [0],
        )
        for member in kinds.values()
    ]
    most = members_at_once(networks, members[0].device) if len(members) > 1 else 1
    return [list(members[start : start + most]) for start in range(0, len(members), most)]


def make_groups(prepared: dict[int, PreparedJob]) -> list[MemberGroup]:
    """The networks of a pass, freshly initialised.

    Args:
        prepared: members by their numbers in the pass.

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
