"""`database.branches`, which can also merge them."""

from __future__ import annotations

from dosql_core.history.branching import Branches
from dosql_core.identifiers import MAIN_BRANCH
from dosql_core.merging.merge import MergeResult, merge_branches
from dosql_core.merging.three_way import Policy


class MergeableBranches(Branches):
    """The branches of one database."""

    def merge(
        self,
        source: str,
        into: str = MAIN_BRANCH,
        using: str | Policy = "abort",
        *,
        dry_run: bool = False,
        author: str | None = None,
        message: str | None = None,
    ) -> MergeResult:
        """Bring what `source` did to `into`, row by row and column by column, as one commit.

        `using` decides rows that both changed to something else: "abort" (none of it is merged),
        "ours", "theirs", or a function that takes the conflict and returns the row.
        Errors: MergeConflictError, whose `conflicts` tell what contradicts; BranchNotFoundError.
        """
        return merge_branches(
            self._database, source, into, using, dry_run=dry_run, author=author, message=message
        )
