"""Which moments a branch contains: its own, its ancestors', those merged into it; no I/O."""

from __future__ import annotations

from dosql_core.history.refs import MergeRef, RefsContent
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import BranchId, Lsn

NEWEST = Lsn(2**62)
"""Stands for the newest LSN of a branch where that need not be known."""


def contained_lsns(refs: RefsContent, branch_id: BranchId, lsn: Lsn) -> dict[BranchId, Lsn]:
    """Up to which LSN each branch is contained in `branch_id` as of `lsn`, itself among them."""
    contained: dict[BranchId, Lsn] = {}
    found = [(branch_id, lsn)]
    while found:
        branch_id, lsn = found.pop()
        known = contained.get(branch_id)
        branch = refs.branches.get(branch_id)
        if branch is None or (known is not None and known >= lsn):
            continue
        contained[branch_id] = lsn
        if branch.parent_id is not None:
            found.append((branch.parent_id, min(lsn, branch.fork_lsn)))
        for merge in refs.merges:
            if merge.committed_at is not None or merge.is_undone:
                continue
            if merge.target_id == branch_id and merge.target_lsn <= lsn:
                found.append((merge.source_id, merge.source_lsn))
            if merge.is_equal and merge.source_id == branch_id and merge.source_lsn <= lsn:
                found.append((merge.target_id, merge.target_lsn))
    return contained


def common_moments(
    refs: RefsContent, one: ResolvedMoment, other: ResolvedMoment
) -> list[ResolvedMoment]:
    """The newest moments that both contain: none of them is contained in another.

    Several only where branches were merged crosswise, none where nothing is in common, as after
    a root was dropped.
    """
    of_one = contained_lsns(refs, one.branch_id, one.lsn)
    of_other = contained_lsns(refs, other.branch_id, other.lsn)
    common = [
        ResolvedMoment(branch_id, min(lsn, of_other[branch_id]))
        for branch_id, lsn in of_one.items()
        if branch_id in of_other
    ]
    common.sort(key=lambda moment: refs.branches[moment.branch_id].created_at)
    for moment in list(common):
        others = [found for found in common if found is not moment]
        if any(is_contained(refs, moment, in_moment=found) for found in others):
            common.remove(moment)
    return common


def is_contained(refs: RefsContent, moment: ResolvedMoment, *, in_moment: ResolvedMoment) -> bool:
    """Whether a moment is part of what another came from, or is the same."""
    reached = contained_lsns(refs, in_moment.branch_id, in_moment.lsn).get(moment.branch_id)
    return reached is not None and reached >= moment.lsn


def merges_without(refs: RefsContent, branch_id: BranchId) -> list[MergeRef]:
    """The merges to be known when a branch is gone; call it while it is still there.

    What came into another branch along with it is noted as merged from where it came from. Its
    merges into others stay for the log.
    """
    kept: list[MergeRef] = []
    for merge in refs.merges:
        if merge.target_id == branch_id:
            continue
        kept.append(merge)
        if merge.source_id != branch_id or merge.is_undone or merge.committed_at is not None:
            continue
        for inner_id, lsn in contained_lsns(refs, branch_id, merge.source_lsn).items():
            if inner_id not in (branch_id, merge.target_id):
                kept.append(MergeRef(merge.target_id, merge.target_lsn, inner_id, lsn))
    return kept


def parents_of(refs: RefsContent, branch_id: BranchId, lsn: Lsn) -> tuple[str, ...]:
    """The moments a commit was made of, `branch@lsn` each: the one before, then those merged."""
    owner = _owner(refs, branch_id, lsn)
    parents: list[str] = []
    if lsn > 1:
        before = _owner(refs, owner, Lsn(lsn - 1))
        parents.append(f"{refs.branches[before].name}@{lsn - 1}")
    for merge in refs.merges:
        is_told = merge.source_name and merge.committed_at is None
        if is_told and merge.target_id == owner and merge.target_lsn == lsn:
            source = refs.branches.get(merge.source_id)
            name = merge.source_name if source is None else source.name
            parents.append(f"{name}@{merge.source_lsn}")
    return tuple(parents)


def _owner(refs: RefsContent, branch_id: BranchId, lsn: Lsn) -> BranchId:
    """The branch on which the commit was made that a branch has under an LSN."""
    branch = refs.branches[branch_id]
    while branch.parent_id is not None and lsn <= branch.fork_lsn:
        branch = refs.branches[branch.parent_id]
    return branch.id
