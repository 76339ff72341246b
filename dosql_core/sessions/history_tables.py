"""The tables of SQL in which a connection reads what rows were: periods, blame, differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dosql_core.database import Database
from dosql_core.errors import ProgrammingError
from dosql_core.history.blame import blame_row
from dosql_core.history.difference_rows import json_row, wide_row
from dosql_core.history.differences import Difference
from dosql_core.history.moments import format_time, moment_from
from dosql_core.history.period_rows import END_COLUMNS, VERSION_COLUMNS, PeriodRows
from dosql_core.history.periods import ResolvedPeriod
from dosql_core.history.row_history import TableShape
from dosql_core.history.time_travel import ResolvedMoment, resolve
from dosql_core.identifiers import BranchId, Lsn, SqlValue
from dosql_core.kernel.computed_table import Column, ComputedTable, Rows, register_computed_table
from dosql_core.kernel.connection import KernelConnection
from dosql_core.language.tokens import quoted_name
from dosql_core.rows.row_change import RowChange
from dosql_core.storage.page_history import PageHistory

_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_PERIOD_PARAMETERS = (
    "_dosql_low",
    "_dosql_high",
    "_dosql_shape",
    "_dosql_horizon",
    "_dosql_within",
)
_BLAME_COLUMNS = (
    Column('"column" TEXT'),
    Column("value"),
    Column("lsn INTEGER"),
    Column("committed_at TEXT"),
    Column("author TEXT"),
    Column("message TEXT"),
)
_KEY_COLUMNS_MAX = 16
_BLAME_PARAMETERS = (
    "_dosql_table",
    *(f"_dosql_key_{number}" for number in range(1, _KEY_COLUMNS_MAX + 1)),
)
_DIFF_COLUMNS = (
    Column("table_name TEXT"),
    Column("operation TEXT"),
    Column('"key"'),
    Column("before TEXT"),
    Column("after TEXT"),
)
_DIFF_PARAMETERS = ("_dosql_table", "_dosql_from", "_dosql_to")


class HistoryTables:
    """What one connection has registered; tables stay with it until it closes.

    Threads: those of the connection.
    """

    def __init__(
        self, kernel: KernelConnection, database: Database, branch_id: BranchId, as_of: Lsn | None
    ) -> None:
        self._kernel = kernel
        self._database = database
        self._branch_id = branch_id
        self._as_of = as_of
        self._names: dict[tuple[Any, ...], str] = {}
        register_computed_table(kernel, "dosql_blame", self._blame_table())
        register_computed_table(kernel, "dosql_diff", self._diff_table())

    def period_source(self, table: str, period: ResolvedPeriod) -> str:
        """What to read FROM for the versions of a table's rows in a period."""
        history = self._database.known(period.branch_id)
        rows = self._database.row_histories.of_table(period.branch_id, table)
        shape = rows.shape(history, period.shape_lsn, period.horizon)
        key = (period.branch_id, rows.table.casefold(), shape.declaration, shape.layout.key)
        name = self._registered(
            "history", key, lambda: self._period_table(period.branch_id, table, shape)
        )
        arguments = (
            period.low, period.high, period.shape_lsn, period.horizon, int(period.is_contained)
        )  # fmt: skip
        return f"{name}({', '.join(map(str, arguments))})"

    def difference_source(self, table: str) -> str:
        """What to read FROM for the differences of a table, with its columns before and after."""
        rows = self._database.row_histories.of_table(self._branch_id, table)
        history, newest = self._present()
        shape = rows.shape(history, newest, newest)
        names = tuple(column.name for column in shape.declaration.columns)
        declarations = tuple(
            (column.declared_type, column.collation) for column in shape.declaration.columns
        )
        return self._registered("diff", (names, declarations), lambda: self._wide_diff_table(shape))

    def _registered(
        self, kind: str, key: tuple[Any, ...], make: Callable[[], ComputedTable]
    ) -> str:
        """The quoted name under which a table is registered."""
        name = self._names.get((kind, *key))
        if name is None:
            name = f"_dosql_{kind}_{len(self._names) + 1}"
            register_computed_table(self._kernel, name, make())
            self._names[(kind, *key)] = name
        return quoted_name(name)

    def _present(self) -> tuple[PageHistory, Lsn]:
        """The history of the connection's branch, and the LSN up to which it sees it."""
        history = self._database.sealed(self._branch_id)
        return history, history.newest_lsn if self._as_of is None else self._as_of

    # -- periods -----------------------------------------------------------------------------------

    def _period_table(self, branch_id: BranchId, table: str, shape: TableShape) -> ComputedTable:
        columns = shape.declaration.columns
        hidden: tuple[str, ...] = END_COLUMNS
        key = shape.layout.key_places
        if shape.layout.has_rowid:
            taken = {column.name.casefold() for column in columns}
            rowid_names = [name for name in _ROWID_NAMES if name not in taken]
            if rowid_names and not key:  # then the rowid is what rows go by
                key = (len(columns) + len(VERSION_COLUMNS) + len(hidden),)
            hidden += tuple(f"{name} INTEGER" for name in rowid_names)

        def compute(arguments: tuple[Any, ...], wanted: tuple[SqlValue, ...] | None) -> Rows:
            low, high, shape_lsn, horizon, is_contained = arguments
            period = ResolvedPeriod(branch_id, low, high, shape_lsn, horizon, bool(is_contained))
            rows = PeriodRows(
                self._database.known(branch_id),
                self._database.row_histories.of_table(branch_id, table),
                period,
            )
            versions, reader = rows.asked_for(wanted)
            if reader is None:
                return NO_ROWS
            return Rows(
                len(versions),
                lambda place: rows.row(versions[place], reader),
                lambda place, column: rows.about(versions[place], column - len(columns)),
            )

        return ComputedTable(
            columns=(
                *(
                    Column(
                        f"{quoted_name(column.name)} {column.declared_type} "
                        f"COLLATE {quoted_name(column.collation)}",
                        column.collation.upper(),
                    )
                    for column in columns
                ),
                *map(Column, VERSION_COLUMNS),
            ),
            parameters=_PERIOD_PARAMETERS,
            required=len(_PERIOD_PARAMETERS),
            compute=compute,
            hidden=hidden,
            key=key,
            stored=len(columns),
        )

    # -- blame -------------------------------------------------------------------------------------

    def _blame_table(self) -> ComputedTable:
        return ComputedTable(
            columns=_BLAME_COLUMNS,
            parameters=_BLAME_PARAMETERS,
            required=2,
            compute=self._blame,
        )

    def _blame(self, arguments: tuple[SqlValue, ...], _key: object) -> Rows:
        table, *key = arguments
        while len(key) > 1 and key[-1] is None:
            key.pop()
        history, newest = self._present()
        rows = self._database.row_histories.of_table(
            self._branch_id, _table_name(table, "dosql_blame")
        )
        return rows_of(
            [
                (blamed.name, blamed.value, None, None, None, None)
                if (commit := blamed.commit) is None
                else (
                    blamed.name,
                    blamed.value,
                    commit.lsn,
                    format_time(commit.committed_at),
                    commit.author,
                    commit.message,
                )
                for blamed in blame_row(history, rows, key, newest)
            ]
        )

    # -- differences -------------------------------------------------------------------------------

    def _diff_table(self) -> ComputedTable:
        def compute(arguments: tuple[Any, ...], _key: object) -> Rows:
            return rows_of([json_row(change) for change in self._changes(*arguments)])

        return ComputedTable(
            columns=_DIFF_COLUMNS,
            parameters=_DIFF_PARAMETERS,
            required=2,
            compute=compute,
        )

    def _wide_diff_table(self, shape: TableShape) -> ComputedTable:
        columns = shape.declaration.columns
        names = [column.name for column in columns]

        def compute(arguments: tuple[Any, ...], _key: object) -> Rows:
            return rows_of([wide_row(change, names) for change in self._changes(*arguments)])

        return ComputedTable(
            columns=(
                Column("operation TEXT"),
                Column('"key"'),
                *(
                    Column(
                        f"{quoted_name(when + column.name)} {column.declared_type} "
                        f"COLLATE {quoted_name(column.collation)}"
                    )
                    for when in ("before_", "after_")
                    for column in columns
                ),
            ),
            parameters=_DIFF_PARAMETERS,
            required=2,
            compute=compute,
        )

    def _changes(self, table: SqlValue, begin: Any, end: Any) -> list[RowChange]:
        if begin is None:
            raise ProgrammingError(
                "dosql_diff needs the moment from which to compare, found NULL",
                hint="write dosql_diff('table', from, to): LSNs, times, 'branch:name' ...",
            )
        before = resolve(moment_from(begin), self._branch_id, self._database)
        if end is None:
            after = ResolvedMoment(self._branch_id, self._present()[1])
        else:
            after = resolve(moment_from(end), self._branch_id, self._database)
        with Difference(self._database, before, after) as difference:
            named = None if table is None else _table_name(table, "dosql_diff")
            return list(difference.rows(named))


def rows_of(rows: list[tuple[SqlValue, ...]]) -> Rows:
    """Rows that are there already."""
    return Rows(len(rows), rows.__getitem__)


NO_ROWS = rows_of([])


def _table_name(value: SqlValue, function: str) -> str:
    if not isinstance(value, str):
        raise ProgrammingError(
            f"{function} needs the name of a table as its first argument, found {value!r}"
        )
    return value
