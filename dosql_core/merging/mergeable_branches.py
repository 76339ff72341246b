"""`database.branches`, which can also merge, revert, pick and rebase."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace

from dosql_core.errors import InvalidMergeOperationError, MergeConflictError, ProgrammingError
from dosql_core.history.ancestry import parents_of
from dosql_core.history.branching import Branches, BranchInfo
from dosql_core.history.log import Parents
from dosql_core.identifiers import MAIN_BRANCH, BranchId
from dosql_core.merging.conflict import (
    Conflict,
    ConflictKind,
    Decide,
    Policy,
    Resolution,
    Side,
    decide_nothing,
    deciding_by,
    resolution_from,
)
from dosql_core.merging.last_writer import LastWriter
from dosql_core.merging.merge import carry_out, refusal, settle_merges
from dosql_core.merging.merge_task import (
    MergeResult,
    MergeTask,
    cherry_pick_task,
    merge_task,
    present_of,
    revert_task,
)
from dosql_core.merging.pending_merge import (
    OpenConflict,
    PendingMerge,
    find_pending_merge,
    forget_pending_merge,
    new_pending_merge,
    pending_merge_of,
    save_pending_merge,
    save_resolutions,
)
from dosql_core.merging.rebase import RebaseResult, rebase_branch
from dosql_core.rows.row_change import NamedValues

OpenConflicts = list[OpenConflict]
WAYS = ("abort", "ours", "theirs", "newest")
Using = str | Policy | None
"""How conflicts are decided: one of WAYS, a function, or None to keep them for later."""


class MergeableBranches(Branches):
    """The branches of one database."""

    # -- merging -----------------------------------------------------------------------------------

    def merge(
        self,
        source: str,
        into: str = MAIN_BRANCH,
        using: Using = None,
        *,
        dry_run: bool = False,
        squash: bool = False,
        fast_forward_only: bool = False,
        author: str | None = None,
        message: str | None = None,
    ) -> MergeResult:
        """Bring what `source` did to `into`, row by row and column by column, as one commit.

        `using` decides rows that both changed to something else: "ours", "theirs", "newest" (whose
        commit was later), or a function that takes the conflict and returns the row. With "abort"
        a merge with conflicts leaves nothing; without it, it stays pending, to be resolved with
        `resolve` and ended with `complete` or `abort`. `squash`: the merge is not remembered as
        one, as if its changes had been made here.
        Errors: MergeConflictError, whose `conflicts` tell what contradicts; BranchNotFoundError;
                NotFastForwardError; InvalidMergeOperationError while another merge is pending.
        """
        task = merge_task(self._database, source, into, squash=squash)
        task = replace(task, author=author, message=message)
        return self._carried_out(task, using, dry_run, must_be_fast_forward=fast_forward_only)

    def revert(
        self,
        lsn: int,
        through: int | None = None,
        branch: str = MAIN_BRANCH,
        using: Using = None,
        *,
        dry_run: bool = False,
        author: str | None = None,
        message: str | None = None,
    ) -> MergeResult:
        """Take a commit of a branch back, or those from `lsn` to `through`, as a new commit.

        What was changed later stays; where it contradicts, it is as in a merge. A merge that is
        taken back can be made again.
        Errors: CommitNotFoundError; MergeConflictError; HistoryExpiredError.
        """
        task = revert_task(self._database, branch, lsn, through)
        return self._carried_out(replace(task, author=author, message=message), using, dry_run)

    def cherry_pick(
        self,
        lsn: int,
        source: str,
        into: str = MAIN_BRANCH,
        using: Using = None,
        *,
        through: int | None = None,
        dry_run: bool = False,
        author: str | None = None,
        message: str | None = None,
    ) -> MergeResult:
        """Make a commit of another branch here, too, or those from `lsn` to `through`, as one.

        Author and message are those of the last of them, unless given.
        Errors: CommitNotFoundError; MergeConflictError; HistoryExpiredError.
        """
        task = cherry_pick_task(self._database, source, into, lsn, through)
        record = self._database.known(task.theirs.branch_id).commit(task.theirs.lsn)
        task = replace(task, author=author or record.author, message=message or record.message)
        return self._carried_out(task, using, dry_run)

    def rebase(
        self,
        name: str,
        onto: str | None = None,
        using: Using = "abort",
        *,
        squash: bool = False,
        message: str | None = None,
    ) -> RebaseResult:
        """Have a branch begin at the present of its parent, or of `onto`, its own commits on top.

        Each is made again with its author and message; `squash` makes one of them.
        Errors: MergeConflictError for the first commit that contradicts, and nothing is changed;
                BranchInUseError.
        """
        if using is None:
            using = "abort"
        decide = self._deciding(using, None)
        return rebase_branch(
            self._database, self, name, onto, decide, squash=squash, message=message
        )

    # -- pending merges ----------------------------------------------------------------------------

    def pending_merge(self, into: str = MAIN_BRANCH) -> PendingMerge | None:
        """The merge into a branch that waits for its conflicts to be resolved, if there is one."""
        return find_pending_merge(self._database, self._database.refs().branch(into).id)

    def conflicts(self, into: str = MAIN_BRANCH, table: str | None = None) -> OpenConflicts:
        """The conflicts of the pending merge, of one table or of all; none when none is pending."""
        pending = self.pending_merge(into)
        if pending is None:
            return []
        return [known for known in pending.conflicts if _is_of(known.conflict, table, None)]

    def resolve(
        self,
        resolution: NamedValues | str | Policy | None,
        into: str = MAIN_BRANCH,
        *,
        table: str | None = None,
        key: NamedValues | None = None,
    ) -> int:
        """Decide conflicts of the pending merge: all, those of a table, or that of a row.

        `resolution` is "ours", "theirs", "base", "newest", the row by column (columns it does not
        name merge), None for no row, or a function of the conflict that returns one of these.
        Returns how many conflicts it decided.
        """
        pending = pending_merge_of(self._database, into)
        decide = self._resolving(resolution, pending.task)
        count = 0

        def decided(_number: int, known: OpenConflict) -> Resolution | bool | None:
            nonlocal count
            found = decide(known.conflict) if _is_of(known.conflict, table, key) else None
            if found is None:
                return False
            count += 1
            return found

        save_resolutions(self._database, pending.resolved(decided))
        return count

    def resolve_numbered(
        self, resolutions: dict[int, NamedValues | str | None], into: str = MAIN_BRANCH
    ) -> int:
        """Decide the conflicts of these numbers, from 1; "" takes a decision back."""
        pending = pending_merge_of(self._database, into)
        count = 0

        def decided(number: int, known: OpenConflict) -> Resolution | bool | None:
            nonlocal count
            if number not in resolutions:
                return False
            given = resolutions[number]
            if given == "":
                return None
            found = self._resolving(given, pending.task)(known.conflict)
            count += found is not None
            return False if found is None else found

        save_resolutions(self._database, pending.resolved(decided))
        return count

    def complete(
        self,
        into: str = MAIN_BRANCH,
        *,
        author: str | None = None,
        message: str | None = None,
    ) -> MergeResult:
        """Commit the pending merge as its conflicts were resolved.

        It is made with the target as it is now: what has changed there since merges as well, or
        comes up as a conflict.
        Errors: MergeConflictError while conflicts are left; InvalidMergeOperationError when no
                merge is pending.
        """
        pending = pending_merge_of(self._database, into)
        task = replace(
            pending.task,
            author=author or pending.task.author,
            message=message or pending.task.message,
        )
        asked: dict[object, Conflict] = {}

        def decide(conflict: Conflict) -> Resolution | None:
            asked[conflict.kind, conflict.name] = conflict
            return pending.decide(conflict)

        try:
            done = carry_out(self._database, task, decide)
        except MergeConflictError as error:
            for conflict in error.conflicts:
                asked[conflict.kind, conflict.name] = conflict
            self._keep(task, asked.values(), pending)
            raise
        forget_pending_merge(self._database, pending)
        return done

    def abort(self, into: str = MAIN_BRANCH) -> None:
        """Forget the pending merge; the branch was not touched by it.

        Errors: InvalidMergeOperationError when none is pending.
        """
        forget_pending_merge(self._database, pending_merge_of(self._database, into))

    # -- what was merged ---------------------------------------------------------------------------

    def get(self, name: str) -> BranchInfo:
        """One branch."""
        settle_merges(self._database)
        return super().get(name)

    def list(self, pattern: str | None = None) -> list[BranchInfo]:
        """All branches, parents first; `pattern` is a glob over names."""
        settle_merges(self._database)
        return super().list(pattern)

    def log_parents(self, branch_id: BranchId) -> Parents:
        """What tells the parents of the commits of a branch."""
        settle_merges(self._database)
        return functools.partial(parents_of, self._database.refs(), branch_id)

    # -- how ---------------------------------------------------------------------------------------

    def _carried_out(
        self, task: MergeTask, using: Using, dry_run: bool, *, must_be_fast_forward: bool = False
    ) -> MergeResult:
        known = find_pending_merge(self._database, task.target_id)
        if known is not None and not dry_run and _what(known.task) != _what(task):
            raise InvalidMergeOperationError(
                f"{known.task.kind} of {known.task.source} into "
                f"{self._name(task.target_id)!r} is pending"
            )
        try:
            done = carry_out(
                self._database,
                task,
                self._deciding(using, task),
                dry_run=dry_run,
                must_be_fast_forward=must_be_fast_forward,
            )
        except MergeConflictError as error:
            if using is None and not dry_run:
                self._keep(task, error.conflicts, None)
            elif not dry_run:
                raise refusal(
                    self._name(task.target_id), task, tuple(error.conflicts), is_kept=False
                ) from None
            raise
        if known is not None and not dry_run:
            forget_pending_merge(self._database, known)
        return done

    def _keep(
        self, task: MergeTask, conflicts: Iterable[Conflict], known: PendingMerge | None
    ) -> None:
        lsn = present_of(self._database, task.target_id).lsn
        save_pending_merge(self._database, new_pending_merge(task, lsn, conflicts, known))

    def _deciding(self, using: Using, task: MergeTask | None) -> Decide:
        if using is None or using == "abort":
            return decide_nothing
        if callable(using):
            return deciding_by(using)
        if using not in WAYS:
            raise ProgrammingError(f"{using!r} is no way to merge", hint=f"ways: {', '.join(WAYS)}")
        if using != "newest":
            resolution = Resolution(Side(using))
            return lambda _conflict: resolution
        if task is None:
            raise ProgrammingError("'newest' is no way to rebase", hint="ways: abort, ours, theirs")
        return LastWriter(self._database, task)

    def _resolving(self, resolution: NamedValues | str | Policy | None, task: MergeTask) -> Decide:
        if callable(resolution):
            return deciding_by(resolution)
        if resolution == "newest":
            return LastWriter(self._database, task)
        fixed = resolution_from(resolution)

        def decide(conflict: Conflict) -> Resolution | None:
            if fixed.side is None and conflict.kind is ConflictKind.SCHEMA:
                raise ProgrammingError(
                    f"found a row as the resolution of a schema conflict in {conflict.table}, "
                    "expected ours, theirs or base"
                )
            return fixed

        return decide

    def _name(self, branch_id: BranchId) -> str:
        return self._database.refs().branches[branch_id].name


def _what(task: MergeTask) -> tuple[object, ...]:
    """What tells tasks apart; a merge of a branch is the same one, however far that has come."""
    if task.undoes is not None:
        return task.kind, task.undoes
    return task.kind, task.source, task.theirs.branch_id


def _is_of(conflict: Conflict, table: str | None, key: NamedValues | None) -> bool:
    if table is not None and conflict.table.casefold() != table.casefold():
        return False
    return key is None or conflict.key == key
