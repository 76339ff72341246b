"""Merging: branches that contradict each other."""

from __future__ import annotations

from typing import Any

from dosql_core.errors.pep_249 import Category, OperationalError


class MergeConflictError(OperationalError):
    """Both branches changed something in ways that contradict; nothing was merged.

    Shape: `conflicts` are `dosql_core.merging.three_way.Conflict`.
    """

    code = "MERGE_CONFLICT"
    category = Category.CONFLICT
    hint = "look at the conflicts, then merge again with USING OURS, USING THEIRS or a policy"

    def __init__(self, message: str, conflicts: Any = ()) -> None:
        super().__init__(message)
        self.conflicts = list(conflicts)
