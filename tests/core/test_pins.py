"""Which moments of a branch must stay readable, for itself and for what was forked from it."""

from __future__ import annotations

from dosql_core.history.pins import pinned_lsns
from dosql_core.history.refs import BranchRef, RefsContent, SnapshotRef
from dosql_core.identifiers import BranchId, BranchName, Lsn, Microseconds

MAIN, FORK, FORK_OF_FORK = BranchId("main"), BranchId("fork-1"), BranchId("fork-2")


def refs_with(*snapshots: tuple[BranchId, int]) -> RefsContent:
    """main, a fork of its LSN 10, and a fork of that one's LSN 20."""
    branches = {
        id: BranchRef(id, BranchName(id), parent, Lsn(lsn), Microseconds(0))
        for id, parent, lsn in ((MAIN, None, 0), (FORK, MAIN, 10), (FORK_OF_FORK, FORK, 20))
    }
    named = {
        str(number): SnapshotRef(str(number), branch, Lsn(lsn), Microseconds(0))
        for number, (branch, lsn) in enumerate(snapshots)
    }
    return RefsContent(branches, named)


def test_a_fork_needs_its_parent_at_the_fork_and_that_ones_parent_at_its_own() -> None:
    refs = refs_with()
    assert pinned_lsns(refs, MAIN) == {10}
    assert pinned_lsns(refs, FORK) == {20}
    assert pinned_lsns(refs, FORK_OF_FORK) == set()


def test_a_snapshot_needs_ancestors_no_further_than_the_fork() -> None:
    refs = refs_with((FORK_OF_FORK, 30))
    assert pinned_lsns(refs, FORK_OF_FORK) == {30}
    assert pinned_lsns(refs, FORK) == {20}
    assert pinned_lsns(refs, MAIN) == {10}


def test_a_snapshot_of_a_moment_before_the_fork_needs_that_moment_of_every_ancestor() -> None:
    refs = refs_with((FORK_OF_FORK, 7))
    assert pinned_lsns(refs, FORK_OF_FORK) == {7}
    assert pinned_lsns(refs, FORK) == {7, 20}
    assert pinned_lsns(refs, MAIN) == {7, 10}
