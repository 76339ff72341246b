"""Merging: branches that contradict each other, merges that wait or do not."""

from __future__ import annotations

from typing import Any

from dosql_core.errors.pep_249 import Category, OperationalError, ProgrammingError


class MergeConflictError(OperationalError):
    """Both branches changed something in ways that contradict; nothing was merged.

    Shape: `conflicts` are `dosql_core.merging.conflict.Conflict`.
    """

    code = "MERGE_CONFLICT"
    category = Category.CONFLICT
    hint = "SELECT * FROM dosql_conflicts, resolve them, then COMMIT MERGE; or ABORT MERGE"

    def __init__(self, message: str, conflicts: Any = (), *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.conflicts = list(conflicts)


class NotFastForwardError(OperationalError):
    """The target has commits of its own, and the merge was to be made only if it had none."""

    code = "NOT_FAST_FORWARD"
    category = Category.CONFLICT
    hint = "leave FAST FORWARD ONLY away, or REBASE BRANCH first"


class InvalidMergeOperationError(ProgrammingError):
    """A merge is pending, and something else was asked for; or none is, and one was meant."""

    code = "INVALID_OPERATION"
    category = Category.CONFLICT
    hint = "COMMIT MERGE or ABORT MERGE ends a pending merge"


class CommitNotFoundError(OperationalError):
    """The branch has no such commit, or not any more."""

    code = "COMMIT_NOT_FOUND"
    category = Category.VALIDATION
    hint = "SELECT * FROM dosql_log lists the commits"
