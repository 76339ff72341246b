"""How much of the past is kept: from a policy to an LSN, and compaction that follows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from dosql_core.errors import RetentionPolicyError
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.moments import now
from dosql_core.history.pins import oldest_unread, pinned_lsns
from dosql_core.history.refs import RefsContent
from dosql_core.identifiers import BranchId, Lsn, Microseconds
from dosql_core.kernel.head import Head
from dosql_core.options import Retention
from dosql_core.storage.compaction import CompactionReport, compact, merge_small
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.tiering import LIVE_SEGMENTS_MAX

Progress = Callable[[int, int], None]
HeldRefs = Callable[[], AbstractContextManager[RefsContent]]
UpdatedRefs = Callable[[], AbstractContextManager[RefsContent]]
_WORTH_DROPPING_SHARE = 0.1


@dataclass(slots=True)
class CompactionTotals:
    """What a compaction did, over all branches asked for."""

    bytes_before: int = 0
    bytes_after: int = 0
    versions_dropped: int = 0
    segments_before: int = 0
    segments_after: int = 0


def check_policy(retention: Retention) -> Retention:
    """The policy, when it can be followed. Errors: RetentionPolicyError."""
    for name in ("age_seconds", "commits_max", "history_bytes_max"):
        value = getattr(retention, name)
        if value is not None and value < 0:
            raise RetentionPolicyError(f"{name} is {value}; expected 0 or more, or None")
    return retention


def oldest_lsn_to_keep(history: PageHistory, retention: Retention, at: Microseconds) -> Lsn:
    """The oldest LSN of the branch itself that the policy keeps; the newest is always kept."""
    newest = history.newest_lsn
    keep = Lsn(0)
    if retention.commits_max is not None:
        keep = Lsn(max(keep, newest - retention.commits_max))
    if retention.age_seconds is not None:
        horizon = Microseconds(at - round(retention.age_seconds * 1_000_000))
        # the commit that was current at the horizon is still needed to show that moment
        keep = Lsn(max(keep, history.newest_at(horizon) or 0))
    if retention.history_bytes_max is not None:
        keep = Lsn(max(keep, _oldest_within(history, retention.history_bytes_max)))
    return min(keep, newest)


def _oldest_within(history: PageHistory, bytes_max: int) -> Lsn:
    kept = 0
    for record in history.commits_backwards(history.newest_lsn):
        kept += record.stored_bytes
        if kept > bytes_max:
            return record.lsn
    return Lsn(0)


def compact_branches(
    database: BranchedDatabase, branch_ids: list[BranchId], progress: Progress | None
) -> CompactionTotals:
    """Follow retention on some branches and merge their segments."""
    totals = CompactionTotals()
    with database.compaction_stopped():
        for branch_id in branch_ids:
            with database.opened_head(branch_id) as head:
                lose_lagging_slots(database.updated_refs, database.refs(), head)
                report = compact_head(head, database.held_refs, progress)
            if report is not None:
                totals.bytes_before += report.bytes_before
                totals.bytes_after += report.bytes_after
                totals.versions_dropped += report.versions_dropped
                totals.segments_before += report.segments_before
                totals.segments_after += report.segments_after
    return totals


def lose_lagging_slots(update_refs: UpdatedRefs, refs: RefsContent, head: Head) -> None:
    """Mark the slots of a branch whose unread commits take more room than they may.

    Retention then stops keeping those commits; the slot's reader is told.
    """
    branch_id, own = head.place.branch_id, head.own_history
    limits = {
        slot.name: slot.lag_bytes_max
        for slot in refs.slots.values()
        if slot.branch_id == branch_id and not slot.is_lost and slot.lag_bytes_max is not None
    }
    # A slot cannot lag by more than all there is, and only then is it worth counting.
    if not limits or own.stored_bytes <= min(limits.values()):
        return
    with update_refs() as working:
        for name, limit in limits.items():
            slot = working.slots.get(name)
            if slot is not None and slot.lsn < _oldest_within(head.history, limit):
                working.slots[name] = replace(slot, is_lost=True)


def compact_head(
    head: Head,
    held_refs: HeldRefs,
    progress: Progress | None,
    *,
    only_when_due: bool = False,
    live_max: int = LIVE_SEGMENTS_MAX,
) -> CompactionReport | None:
    """Follow retention on one branch and merge its segments; no other process may do so meanwhile.

    `only_when_due` leaves it at merging the newest segments, until `live_max` are live, as long as
    less than a tenth of the commits may go.
    """

    @contextlib.contextmanager
    def pins() -> Iterator[set[Lsn]]:
        with held_refs() as refs:
            yield pinned_lsns(refs, head.place.branch_id)

    head.history.refresh()
    own = head.own_history
    with held_refs() as refs:
        retention = refs.retention
        unread = oldest_unread(refs, head.place.branch_id)
    keep = oldest_lsn_to_keep(head.history, retention, now())
    if unread is not None:
        keep = min(keep, unread)
    may_go = keep - own.oldest_lsn
    if only_when_due and may_go <= _WORTH_DROPPING_SHARE * max(own.newest_lsn - own.oldest_lsn, 10):
        merge_small(own, live_max=live_max)
        return None
    return compact(own, keep_from=max(keep, own.oldest_lsn), pins=pins, progress=progress)
