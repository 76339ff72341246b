"""Rebase a branch: its own commits made again, one by one, on the present of another branch."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, replace

from dosql_core.errors import (
    BranchInUseError,
    InvalidMergeOperationError,
    MergeConflictError,
    ProgrammingError,
)
from dosql_core.history.ancestry import contained_lsns, merges_without
from dosql_core.history.branching import Branches
from dosql_core.history.refs import BranchRef, RefsContent
from dosql_core.identifiers import BranchName, Lsn
from dosql_core.merging.conflict import Decide
from dosql_core.merging.merge import carry_out
from dosql_core.merging.merge_task import MergedDatabase, cherry_pick_task

_SUFFIX = " (rebasing)"


@dataclass(frozen=True, slots=True)
class RebaseResult:
    """What a rebase did.

    Shape: `fork_lsn` is the LSN of `onto` the branch begins at now; `commits` were made again,
           `skipped` were in `onto` already.
    """

    branch: BranchName
    onto: BranchName
    fork_lsn: Lsn
    lsn: Lsn
    commits: int
    skipped: int


def rebase_branch(
    database: MergedDatabase,
    branches: Branches,
    name: str,
    onto: str | None,
    decide: Decide,
    *,
    squash: bool = False,
    message: str | None = None,
) -> RebaseResult:
    """Have a branch begin at the present of `onto`, its parent by default, with its own commits.

    They keep author and message; their times are new. The branch takes the place of the old one in
    one step at the end: a crash before leaves the old one, and a branch with a strange name that
    the next rebase removes.
    Errors: MergeConflictError for the first commit that contradicts, when nothing is changed;
            BranchInUseError when the branch is open, or something hangs on its history.
    """
    refs = database.refs()
    old = refs.branch(name)
    if old.parent_id is None:
        raise ProgrammingError(f"branch {name!r} has no parent; only forks can be rebased")
    ground = refs.branch(onto) if onto is not None else refs.branches[old.parent_id]
    if ground.id == old.id:
        raise ProgrammingError(f"branch {name!r} cannot be rebased onto itself")
    new_name = f"{old.name[: 255 - len(_SUFFIX)]}{_SUFFIX}"
    branches.drop(new_name, if_exists=True, force=True)  # what a crash left
    with database.unused_head(old.id, name):
        _refuse_what_hangs_on(refs, old)
    newest = database.sealed(old.id).newest_lsn
    first = _first_own(database, old, ground)
    made = branches.create(new_name, ground.name)
    try:
        count, skipped = _replay(
            database, old, ground, new_name, (first, newest), decide, squash=squash, message=message
        )
        with database.unused_head(old.id, name):
            if database.known(old.id).newest_lsn != newest:
                raise BranchInUseError(f"branch {name!r} was written while it was rebased")
            with database.updated_refs() as content:
                _refuse_what_hangs_on(content, old)
                content.merges = merges_without(content, old.id)
                content.pending_merges.pop(old.id, None)
                del content.branches[old.id]
                content.replace_branch(made.id, name=old.name, is_protected=old.is_protected)
            database.forget_history(old.id)
            shutil.rmtree(database.branch_directory(old.id), ignore_errors=True)
    except BaseException:
        with contextlib.suppress(Exception):
            branches.drop(new_name, if_exists=True, force=True)
        raise
    done = branches.get(old.name)
    return RebaseResult(done.name, ground.name, done.fork_lsn, done.lsn, count, skipped)


def _first_own(database: MergedDatabase, old: BranchRef, ground: BranchRef) -> Lsn:
    """The first commit of the branch that `ground` does not contain."""
    present = database.sealed(ground.id).newest_lsn
    contained = contained_lsns(database.refs(), ground.id, present).get(old.id, old.fork_lsn)
    return Lsn(max(contained, old.fork_lsn) + 1)


def _replay(
    database: MergedDatabase,
    old: BranchRef,
    ground: BranchRef,
    new_name: str,
    lsns: tuple[Lsn, Lsn],
    decide: Decide,
    *,
    squash: bool,
    message: str | None,
) -> tuple[int, int]:
    """Make the commits again; how many were made, and how many had nothing new."""
    first, newest = lsns
    history = database.known(old.id)
    ranges = [(lsn, lsn) for lsn in range(first, newest + 1)]
    if squash and ranges:
        ranges = [(first, newest)]
    count = skipped = 0
    for start, end in ranges:
        record = history.commit(Lsn(end))
        task = cherry_pick_task(database, old.name, new_name, start, end)
        task = replace(
            task,
            author=record.author,
            message=message or record.message or f"rebased {task.source}",
        )
        try:
            done = carry_out(database, task, decide)
        except MergeConflictError as error:
            found = str(error).replace(new_name, ground.name)
            raise MergeConflictError(
                f"{task.source} contradicts {ground.name!r}, so nothing is rebased: {found}",
                error.conflicts,
                hint="USING OURS or THEIRS, or in Python a function, decides; or merge it instead",
            ) from error
        if done.lsn is None:
            skipped += 1
        else:
            count += 1
    return count, skipped


def _refuse_what_hangs_on(refs: RefsContent, old: BranchRef) -> None:
    """Errors: BranchInUseError when forks, snapshots or slots need the history it has now."""
    hanging = [f"branch {child.name!r}" for child in refs.children(old.id)]
    hanging += [f"snapshot {s.name!r}" for s in refs.snapshots.values() if s.branch_id == old.id]
    hanging += [f"slot {s.name!r}" for s in refs.slots.values() if s.branch_id == old.id]
    if hanging:
        raise BranchInUseError(
            f"branch {old.name!r} cannot be rebased: {', '.join(hanging)} need its history",
            hint="drop those first, or MERGE BRANCH its parent into it instead",
        )
    for pending in refs.pending_merges.values():
        if any(branch_id == old.id for branch_id, _ in pending.moments):
            raise InvalidMergeOperationError(f"a merge of branch {old.name!r} is pending")
