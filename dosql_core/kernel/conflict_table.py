"""`dosql_conflicts`: the conflicts of a pending merge as a table of SQL, resolved by UPDATE."""

from __future__ import annotations

from typing import Any, Protocol

import apsw

TABLE_NAME = "dosql_conflicts"
COLUMNS = (
    "number", "kind", "table_name", "key", "columns", "base", "ours", "theirs", "detail",
    "resolution", "source",
)  # fmt: skip
_SCHEMA = (
    "CREATE TABLE x(number INTEGER PRIMARY KEY, kind TEXT, table_name TEXT, key TEXT, "
    "columns TEXT, base TEXT, ours TEXT, theirs TEXT, detail TEXT, resolution TEXT, source TEXT, "
    "of_table TEXT HIDDEN, branch TEXT HIDDEN)"
)
_RESOLUTION = COLUMNS.index("resolution")
_OF_TABLE, _BRANCH = len(COLUMNS), len(COLUMNS) + 1

Row = tuple[Any, ...]


class Conflicts(Protocol):
    """Where the rows come from and go to."""

    def rows(self, branch: str | None, table: str | None) -> list[Row]:
        """The conflicts of the merge pending into a branch, the connection's own for None.

        Shape: values for COLUMNS.
        """

    def resolve(self, branch: str | None, resolutions: dict[int, str | None]) -> None:
        """Keep what is decided about the conflicts of these numbers."""


def register_conflict_table(connection: apsw.Connection, conflicts: Conflicts) -> None:
    """Give a connection its `dosql_conflicts`, also callable as `dosql_conflicts('table')`.

    What UPDATE decides is kept when its transaction commits.
    """
    connection.create_module(
        TABLE_NAME,
        _ConflictModule(conflicts),  # type: ignore[arg-type]  # ShadowName is optional
        eponymous_only=True,
        eponymous=True,
    )


class _ConflictModule:
    def __init__(self, conflicts: Conflicts) -> None:
        self._table = _ConflictTable(conflicts)

    def Connect(self, *_arguments: Any) -> tuple[str, _ConflictTable]:
        return _SCHEMA, self._table

    Create = Connect


class _ConflictTable:
    def __init__(self, conflicts: Conflicts) -> None:
        self._conflicts = conflicts
        self._changed: dict[str | None, dict[int, str | None]] = {}
        self._branch: str | None = None

    def BestIndex(self, constraints: list[tuple[int, int]], _orders: Any) -> Any:
        used: list[Any] = [None] * len(constraints)
        plan = ""
        for position, (column, operator) in enumerate(constraints):
            if operator == apsw.SQLITE_INDEX_CONSTRAINT_EQ and column in (_OF_TABLE, _BRANCH):
                used[position] = (len(plan), True)
                plan += "t" if column == _OF_TABLE else "b"
        return used, 0, plan, False, 100.0

    def Open(self) -> _ConflictCursor:
        return _ConflictCursor(self)

    def rows(self, branch: str | None, table: str | None) -> list[Row]:
        """The conflicts, with what this transaction decided."""
        self._branch = branch
        changed = self._changed.get(branch, {})
        return [
            (*row[:_RESOLUTION], changed[row[0]], *row[_RESOLUTION + 1 :])
            if row[0] in changed
            else row
            for row in self._conflicts.rows(branch, table)
        ]

    def UpdateChangeRow(self, number: int, _new: int, values: tuple[Any, ...]) -> None:
        self._changed.setdefault(self._branch, {})[number] = values[_RESOLUTION]

    def UpdateInsertRow(self, _number: int | None, _values: tuple[Any, ...]) -> int:
        raise apsw.ReadOnlyError("conflicts are found by a merge; nobody can add one")

    def UpdateDeleteRow(self, _number: int) -> None:
        raise apsw.ReadOnlyError("a conflict goes away with COMMIT MERGE or ABORT MERGE")

    def Begin(self) -> None:
        self._changed = {}

    def Sync(self) -> None:
        """The transaction is about to commit; an error here rolls it back."""
        changed, self._changed = self._changed, {}
        for branch, resolutions in changed.items():
            self._conflicts.resolve(branch, resolutions)

    def Commit(self) -> None:
        pass

    def Rollback(self) -> None:
        self._changed = {}

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


class _ConflictCursor:
    def __init__(self, table: _ConflictTable) -> None:
        self._table = table
        self._rows: list[Row] = []
        self._at = 0

    def Filter(self, _number: int, plan: str, arguments: tuple[Any, ...]) -> None:
        given = dict(zip(plan, arguments, strict=True))
        self._rows = self._table.rows(given.get("b"), given.get("t"))
        self._at = 0

    def Next(self) -> None:
        self._at += 1

    def Eof(self) -> bool:
        return self._at >= len(self._rows)

    def Rowid(self) -> int:
        return int(self._rows[self._at][0])

    def Column(self, number: int) -> Any:
        if number in (_OF_TABLE, _BRANCH):
            return None
        return self._rows[self._at][max(number, 0)]

    def Close(self) -> None:
        self._rows = []
