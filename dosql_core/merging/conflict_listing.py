"""The conflicts of a pending merge as SQL has them: rows as JSON, resolutions as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dosql_core.errors import ProgrammingError
from dosql_core.merging.conflict import Resolution
from dosql_core.merging.mergeable_branches import MergeableBranches
from dosql_core.merging.pending_merge import row_from_json, row_to_json
from dosql_core.rows.row_change import NamedValues

_NO_ROW = "delete"


class ConflictListing:
    """What `dosql_conflicts` of one connection shows and takes."""

    def __init__(self, branches: MergeableBranches, own_branch: Callable[[], str | None]) -> None:
        self._branches, self._own_branch = branches, own_branch

    def rows(self, branch: str | None, table: str | None) -> list[tuple[Any, ...]]:
        """The conflicts of the merge pending into a branch, of one table or of all."""
        pending = self._branches.pending_merge(self._target(branch))
        if pending is None:
            return []
        return [
            (
                number,
                known.conflict.kind.value,
                known.conflict.table,
                _json(known.conflict.key),
                ", ".join(known.conflict.columns),
                _json(known.conflict.base),
                _json(known.conflict.ours),
                _json(known.conflict.theirs),
                known.conflict.detail,
                resolution_text(known.resolution),
                pending.task.source,
            )
            for number, known in enumerate(pending.conflicts, 1)
            if table is None or known.conflict.table.casefold() == table.casefold()
        ]

    def resolve(self, branch: str | None, resolutions: dict[int, str | None]) -> None:
        """Keep what is decided about the conflicts of these numbers.

        Errors: ProgrammingError for a text that is no resolution.
        """
        decided = {number: _resolution_from(text) for number, text in resolutions.items()}
        self._branches.resolve_numbered(decided, self._target(branch))

    def _target(self, branch: str | None) -> str:
        return str(branch if branch is not None else self._own_branch())


def resolution_text(resolution: Resolution | None) -> str | None:
    """A resolution as it is shown: a side, "delete", a row as JSON; None when there is none."""
    if resolution is None:
        return None
    if resolution.side is not None:
        return resolution.side.value
    return _NO_ROW if resolution.row is None else _json(resolution.row)


def _resolution_from(text: Any) -> NamedValues | str | None:
    if text is None:
        return ""  # takes back what was decided
    if text == _NO_ROW:
        return None
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return str(text)
    try:
        row = json.loads(text)
    except ValueError as error:
        raise ProgrammingError(
            f"found {text!r} as a resolution, which is no JSON: {error}"
        ) from None
    return row_from_json(row)


def _json(row: NamedValues | None) -> str | None:
    return None if row is None else json.dumps(row_to_json(row), ensure_ascii=False)
