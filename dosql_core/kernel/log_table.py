"""`dosql_log`: the commits of a branch as a table of SQL, read as it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import apsw

TABLE_NAME = "dosql_log"
COLUMNS = (
    "lsn", "committed_at", "pages", "bytes", "author", "message", "flags", "database_pages",
    "parents",
)  # fmt: skip
_SCHEMA = (
    "CREATE TABLE x(lsn INTEGER PRIMARY KEY, committed_at TEXT, pages INTEGER, bytes INTEGER, "
    "author TEXT, message TEXT, flags TEXT, database_pages INTEGER, parents TEXT, "
    "branch TEXT HIDDEN)"
)
_BRANCH_COLUMN = len(COLUMNS)
_BOUNDS = {
    apsw.SQLITE_INDEX_CONSTRAINT_EQ: "=",
    apsw.SQLITE_INDEX_CONSTRAINT_GT: ">",
    apsw.SQLITE_INDEX_CONSTRAINT_GE: "G",
    apsw.SQLITE_INDEX_CONSTRAINT_LT: "<",
    apsw.SQLITE_INDEX_CONSTRAINT_LE: "L",
}

Row = tuple[Any, ...]
WalkLog = Callable[[str | None, int | None, int | None], Iterator[Row]]


def register_log_table(connection: apsw.Connection, walk: WalkLog) -> None:
    """Give a connection its `dosql_log`, also callable as `dosql_log('branch')`.

    Shape: `walk(branch, first, last)` yields values for COLUMNS, newest first.
    """
    connection.create_module(
        TABLE_NAME,
        _LogModule(walk),  # type: ignore[arg-type]  # ShadowName is optional
        eponymous_only=True,
        eponymous=True,
        read_only=True,
    )


class _LogModule:
    def __init__(self, walk: WalkLog) -> None:
        self._table = _LogTable(walk)

    def Connect(self, *_arguments: Any) -> tuple[str, _LogTable]:
        return _SCHEMA, self._table

    Create = Connect


class _LogTable:
    def __init__(self, walk: WalkLog) -> None:
        self.walk = walk

    def BestIndex(self, constraints: list[tuple[int, int]], orders: list[tuple[int, bool]]) -> Any:
        used: list[Any] = [None] * len(constraints)
        plan = ""
        for position, (column, operator) in enumerate(constraints):
            sign = _BOUNDS.get(operator)
            if column == _BRANCH_COLUMN and sign == "=":
                sign = "b"
            elif column != 0 or sign is None:
                continue
            used[position] = (len(plan), True)
            plan += sign
        is_ordered = [tuple(order) for order in orders] == [(0, True)]
        cost = 10.0 if "=" in plan else 1_000.0 if plan else 100_000.0
        return used, 0, plan, is_ordered, cost

    def Open(self) -> _LogCursor:
        return _LogCursor(self)

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


class _LogCursor:
    def __init__(self, table: _LogTable) -> None:
        self._table = table
        self._rows: Iterator[Row] = iter(())
        self._row: Row | None = None

    def Filter(self, _number: int, plan: str, arguments: tuple[Any, ...]) -> None:
        branch, first, last, is_possible = None, None, None, True
        for sign, value in zip(plan, arguments, strict=True):
            if sign == "b":
                branch = value
            elif not isinstance(value, (int, float)):
                is_possible = False
            else:
                if sign in "=G>":
                    low = math.floor(value) + 1 if sign == ">" else math.ceil(value)
                    first = low if first is None else max(first, low)
                if sign in "=L<":
                    high = math.ceil(value) - 1 if sign == "<" else math.floor(value)
                    last = high if last is None else min(last, high)
        self._rows = self._table.walk(branch, first, last) if is_possible else iter(())
        self.Next()

    def Next(self) -> None:
        self._row = next(self._rows, None)

    def Eof(self) -> bool:
        return self._row is None

    def Rowid(self) -> int:
        assert self._row is not None
        return int(self._row[0])

    def Column(self, number: int) -> Any:
        assert self._row is not None
        return None if number == _BRANCH_COLUMN else self._row[max(number, 0)]

    def Close(self) -> None:
        self._rows = iter(())
