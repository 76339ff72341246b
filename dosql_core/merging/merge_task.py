"""What is to be brought to a branch: another branch, commits of one, or the reverse of its own."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from dosql_core.errors import BranchNotFoundError, CommitNotFoundError, ProgrammingError
from dosql_core.history.ancestry import common_moments
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.refs import RefsContent
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import BranchId, BranchName, Lsn
from dosql_core.merging.conflict import Conflict


class TaskKind(enum.StrEnum):
    """What a task is for."""

    MERGE = "merge"
    SQUASH = "squash"
    REVERT = "revert"
    CHERRY_PICK = "cherry-pick"


@dataclass(frozen=True, slots=True)
class MergeTask:
    """What happened between `bases` and `theirs` is to happen on the target, too.

    Shape: `roots` are what each base but the first has in common with the first. `source` is the
           branch, or the commits, as people are told.
    """

    kind: TaskKind
    target_id: BranchId
    source: str
    bases: tuple[ResolvedMoment, ...]
    theirs: ResolvedMoment
    roots: tuple[ResolvedMoment, ...] = ()
    author: str | None = None
    message: str | None = None
    undoes: tuple[Lsn, Lsn] | None = None

    @property
    def moments(self) -> tuple[ResolvedMoment, ...]:
        """All moments it reads."""
        return (*self.bases, self.theirs, *self.roots)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge did, or a dry run would do.

    Shape: `lsn` is the merge's commit, None when nothing had to be done or it was a dry run;
           `is_fast_forward`: the target had not changed since the common moment. `rows` counts the
           rows of the target that change. Only a dry run comes back with `conflicts`.
    """

    target: BranchName
    source: str
    base: ResolvedMoment
    lsn: Lsn | None
    rows: int
    is_fast_forward: bool
    conflicts: tuple[Conflict, ...] = ()


class MergedDatabase(BranchedDatabase, Protocol):
    """What merging needs of a database."""

    def updated_refs(self) -> AbstractContextManager[RefsContent]:
        """Change the refs."""


def present_of(database: MergedDatabase, branch_id: BranchId) -> ResolvedMoment:
    """The present of a branch, sealed."""
    return ResolvedMoment(branch_id, database.sealed(branch_id).newest_lsn)


def merge_task(
    database: MergedDatabase, source: str, target: str, *, squash: bool = False
) -> MergeTask:
    """A merge of the present of one branch into another.

    Errors: BranchNotFoundError, also when they have nothing in common; ProgrammingError when they
            are one.
    """
    refs = database.refs()
    theirs, ours = refs.branch(source), refs.branch(target)
    if theirs.id == ours.id:
        raise ProgrammingError(f"branch {target!r} cannot be merged into itself")
    their_present = present_of(database, theirs.id)
    bases = common_moments(refs, present_of(database, ours.id), their_present)
    if not bases:
        raise BranchNotFoundError("the two branches have no common ancestor")
    return MergeTask(
        TaskKind.SQUASH if squash else TaskKind.MERGE,
        ours.id,
        theirs.name,
        tuple(bases),
        their_present,
        _roots(refs, bases),
    )


def _roots(refs: RefsContent, bases: Sequence[ResolvedMoment]) -> tuple[ResolvedMoment, ...]:
    return tuple(common_moments(refs, bases[0], other)[0] for other in bases[1:])


def revert_task(
    database: MergedDatabase, branch: str, first: int, last: int | None = None
) -> MergeTask:
    """The reverse of commits of a branch, on that branch.

    Errors: CommitNotFoundError.
    """
    branch_id = database.refs().branch(branch).id
    first, last = _range(database, branch_id, branch, first, last)
    return MergeTask(
        TaskKind.REVERT,
        branch_id,
        _told(first, last),
        (ResolvedMoment(branch_id, Lsn(last)),),
        ResolvedMoment(branch_id, Lsn(first - 1)),
        undoes=(Lsn(first), Lsn(last)),
    )


def cherry_pick_task(
    database: MergedDatabase, source: str, target: str, first: int, last: int | None = None
) -> MergeTask:
    """Commits of one branch, on another.

    Errors: CommitNotFoundError.
    """
    refs = database.refs()
    theirs, ours = refs.branch(source), refs.branch(target)
    first, last = _range(database, theirs.id, source, first, last)
    return MergeTask(
        TaskKind.CHERRY_PICK,
        ours.id,
        f"{_told(first, last)} of {theirs.name}",
        (ResolvedMoment(theirs.id, Lsn(first - 1)),),
        ResolvedMoment(theirs.id, Lsn(last)),
    )


def _told(first: int, last: int) -> str:
    return f"LSN {first}" if first == last else f"LSN {first} to {last}"


def _range(
    database: MergedDatabase, branch_id: BranchId, branch: str, first: int, last: int | None
) -> tuple[int, int]:
    last = first if last is None else last
    newest = database.sealed(branch_id).newest_lsn
    if not 1 <= first <= last <= newest:
        raise CommitNotFoundError(
            f"branch {branch!r} has no commits {_told(first, last)}; it has 1 to {newest}"
        )
    return first, last
