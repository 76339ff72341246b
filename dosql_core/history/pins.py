"""Which old LSNs of a branch must stay readable: those of snapshots and of forks."""

from __future__ import annotations

from dosql_core.history.refs import RefsContent
from dosql_core.identifiers import BranchId, Lsn


def pinned_lsns(refs: RefsContent, branch_id: BranchId) -> set[Lsn]:
    """The LSNs that snapshots and forks need of `branch_id`.

    A need on a branch is also one on its ancestors: below a fork LSN pages come from the parent.
    """
    needs = [(snapshot.branch_id, snapshot.lsn) for snapshot in refs.snapshots.values()]
    needs += [
        (branch.parent_id, branch.fork_lsn) for branch in refs.branches.values() if branch.parent_id
    ]
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
