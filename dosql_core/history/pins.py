"""What must stay readable: moments of snapshots and forks, and commits that slots still need."""

from __future__ import annotations

from dosql_core.history.ancestry import NEWEST, contained_lsns
from dosql_core.history.refs import RefsContent
from dosql_core.identifiers import BranchId, Lsn


def pinned_lsns(refs: RefsContent, branch_id: BranchId) -> set[Lsn]:
    """The LSNs that snapshots, forks and the next merges need of `branch_id`.

    A need on a branch is also one on its ancestors: below a fork LSN pages come from the parent.
    """
    needs = [(snapshot.branch_id, snapshot.lsn) for snapshot in refs.snapshots.values()]
    needs += [
        (branch.parent_id, branch.fork_lsn) for branch in refs.branches.values() if branch.parent_id
    ]
    for branch in refs.branches.values():
        contained = contained_lsns(refs, branch.id, NEWEST)
        needs += [(owner, lsn) for owner, lsn in contained.items() if lsn < NEWEST]
    for pending in refs.pending_merges.values():
        needs += pending.moments
    pins: set[Lsn] = set()
    for owner, lsn in needs:
        current: BranchId | None = owner
        while current is not None and current in refs.branches:
            branch = refs.branches[current]
            if current == branch_id:
                pins.add(lsn)
            lsn = min(lsn, branch.fork_lsn) if branch.parent_id else lsn
            current = branch.parent_id
    return pins


def oldest_unread(refs: RefsContent, branch_id: BranchId) -> Lsn | None:
    """The LSN from which slots need every commit of `branch_id`; None when there is no such slot.

    A slot on a fork that has not come to the fork LSN yet reads the parent's commits first.
    """
    unread: list[Lsn] = []
    for slot in refs.slots.values():
        current: BranchId | None = None if slot.is_lost else slot.branch_id
        while current is not None and current in refs.branches:
            branch = refs.branches[current]
            if current == branch_id:
                unread.append(slot.lsn)
            current = branch.parent_id if slot.lsn <= branch.fork_lsn else None
    return min(unread, default=None)
