"""The company of a member under successive halving: all members that it is compared with, itself included."""

import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from losa.adapt.members.passes import reading_key
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.members.summary import MemberSummary, Outcome

_log = logging.getLogger(__name__)

Checked = tuple[PreparedJob, Outcome | None]
"""A member, and the outcome that its folder holds: a summary, or the error with which it diverged."""


def with_company(prepared: Sequence[PreparedJob]) -> list[PreparedJob]:
    """The members, each of those with ``halve_at`` with the ids of its company.

    Args:
        prepared: all members of a sweep, finished ones included: what a member is compared with must not
            depend on what was trained before.
    """
    ids: dict[Hashable, set[str]] = defaultdict(set)
    for member in prepared:
        if member.config.halve_at:
            ids[reading_key(member)].add(member.config.member_id)
    return [
        replace(member, company=tuple(sorted(ids[reading_key(member)]))) if member.config.halve_at else member
        for member in prepared
    ]


def without_other_companies(checked: Sequence[Checked], *, warn: bool) -> list[Checked]:
    """Drop the outcomes of members that were compared with others than their company.

    A company is finished as a whole or not at all: a member that was trained later than the others would be
    compared with nobody. The summaries of a company name those of it that diverged.

    Args:
        checked: the members that are not yet known to be finished.
        warn: whether to tell how many summaries do not count.
    """
    settled: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for member, outcome in checked:
        found = outcome.company if isinstance(outcome, MemberSummary) else None
        if found is not None and tuple(found.members) == member.company:
            settled[member.company].update([member.config.member_id, *found.failed])
        elif isinstance(outcome, Exception):
            settled[member.company].add(member.config.member_id)
    kept: list[Checked] = []
    again: dict[tuple[str, ...], int] = defaultdict(int)
    for member, outcome in checked:
        if member.company and outcome is not None and not set(member.company) <= settled[member.company]:
            again[member.company] += isinstance(outcome, MemberSummary)
            outcome = None
        kept.append((member, outcome))
    for company, count in again.items():
        if warn and count:
            _log.warning(
                "halve_at: of %d members, %d were finished in other company, or without the rest. What "
                "becomes of a member depends on those that it is compared with, so they are trained again",
                len(company),
                count,
            )
    return kept
