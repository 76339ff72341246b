"""Tables of SQL whose rows are computed when they are asked for, as `FROM name(arguments)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from dosql_core.identifiers import SqlValue

_EQUAL = apsw.SQLITE_INDEX_CONSTRAINT_EQ
_COST_OF_ALL = 1_000_000.0
_COST_OF_SOME = 50.0
_ROWS_OF_ALL = 100_000
_ROWS_OF_SOME = 10


class Rows(NamedTuple):
    """Rows asked for: how many, and each by its place.

    Shape: `row` may end before its last columns; `cell`, given the row's place and the column's,
           knows those, which are worked out only when somebody reads them.
    """

    row_count: int
    row: Callable[[int], Sequence[SqlValue]]
    cell: Callable[[int, int], SqlValue] | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its declaration, and what its text is compared by."""

    declaration: str
    collation: str = "BINARY"


class ComputedTable(NamedTuple):
    """A table to be registered.

    Shape: rows have a value for each of `columns`, then for each of `hidden`, which can be named
           but are not among `*`. `parameters` are what stands in the parentheses behind the name;
           the first `required` of them must. `compute` is given their values (None for one left
           out), and the values that `key` (places of columns) must be equal to, or None where a
           query does not say. `stored` is where the columns begin that `Rows.cell` gives.
    """

    columns: tuple[Column, ...]
    parameters: tuple[str, ...]
    required: int
    compute: Callable[[tuple[SqlValue, ...], tuple[SqlValue, ...] | None], Rows]
    hidden: tuple[str, ...] = ()
    key: tuple[int, ...] = ()
    stored: int = 0


def register_computed_table(connection: apsw.Connection, name: str, table: ComputedTable) -> None:
    """Give a connection the table; nothing is stored in any database."""
    connection.create_module(
        name,
        _Module(table),  # type: ignore[arg-type]  # ShadowName is optional
        use_bestindex_object=True,
        eponymous_only=True,
        eponymous=True,
        read_only=True,
    )


class _Module:
    def __init__(self, table: ComputedTable) -> None:
        self._table = table

    def Connect(self, *_arguments: Any) -> tuple[str, _Table]:
        declarations = [column.declaration for column in self._table.columns]
        # What stands in the parentheses goes to the hidden columns in order, so these come first.
        declarations += [f"{name} HIDDEN" for name in self._table.parameters]
        declarations += [f"{name} HIDDEN" for name in self._table.hidden]
        return f"CREATE TABLE x({', '.join(declarations)})", _Table(self._table)

    Create = Connect


class _Table:
    def __init__(self, table: ComputedTable) -> None:
        self.table = table
        self.first_parameter = len(table.columns)
        self.behind_parameters = len(table.columns) + len(table.parameters)

    def place(self, column: int) -> int | None:
        """Where in a row a column's value is; None for a parameter."""
        if column < self.first_parameter:
            return column
        if column < self.behind_parameters:
            return None
        return column - len(self.table.parameters)

    def BestIndexObject(self, index: apsw.IndexInfo) -> bool:
        table, first = self.table, self.first_parameter
        parameters: dict[int, int] = {}
        keys: dict[int, int] = {}
        for constraint in range(index.nConstraint):
            column = index.get_aConstraint_iColumn(constraint)
            if index.get_aConstraint_op(constraint) != _EQUAL:
                continue
            is_usable = index.get_aConstraint_usable(constraint)
            place = self.place(column)
            if place is None:
                if not is_usable:
                    return False  # an argument that is not known yet: another order of joining
                parameters[column - first] = constraint
            elif is_usable and place in table.key and place not in keys:
                declared = table.columns[place].collation if place < first else "BINARY"
                if index.get_aConstraint_collation(constraint).upper() == declared:
                    keys[place] = constraint
        if not parameters.keys() >= set(range(table.required)):
            return False
        is_keyed = bool(table.key) and len(keys) == len(table.key)
        plan: list[str] = []
        for parameter, constraint in parameters.items():
            plan.append(f"p{parameter}")
            index.set_aConstraintUsage_argvIndex(constraint, len(plan))
            index.set_aConstraintUsage_omit(constraint, True)
        if is_keyed:
            for place in table.key:
                plan.append("k")
                index.set_aConstraintUsage_argvIndex(keys[place], len(plan))
        index.idxStr = " ".join(plan)
        index.estimatedCost = _COST_OF_SOME if is_keyed else _COST_OF_ALL
        index.estimatedRows = _ROWS_OF_SOME if is_keyed else _ROWS_OF_ALL
        return True

    def Open(self) -> _Cursor:
        return _Cursor(self)

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


class _Cursor:
    __slots__ = (
        "_arguments",
        "_at",
        "_behind",
        "_cell",
        "_count",
        "_fetch",
        "_fetched",
        "_first",
        "_row",
        "_table",
    )

    def __init__(self, table: _Table) -> None:
        self._table = table.table
        self._first = table.first_parameter
        self._behind = table.behind_parameters
        self._close()

    def _close(self) -> None:
        self._arguments: tuple[SqlValue, ...] = ()
        self._at, self._count, self._fetched = 0, 0, -1
        self._row: Sequence[SqlValue] = ()
        self._fetch: Callable[[int], Sequence[SqlValue]] = _no_row
        self._cell: Callable[[int, int], SqlValue] | None = None

    def Filter(self, _number: int, plan: str | None, values: tuple[SqlValue, ...]) -> None:
        self._close()
        table = self._table
        arguments: list[SqlValue] = [None] * len(table.parameters)
        key: list[SqlValue] = []
        for label, value in zip((plan or "").split(), values, strict=True):
            if label == "k":
                key.append(value)
            else:
                arguments[int(label[1:])] = value
        self._arguments = tuple(arguments)
        if len(key) != len(table.key):
            key = []
        elif None in key:
            return  # nothing equals NULL
        rows = table.compute(self._arguments, tuple(key) or None)
        self._count, self._fetch, self._cell = rows

    def Next(self) -> None:
        self._at += 1

    def Eof(self) -> bool:
        return self._at >= self._count

    def Rowid(self) -> int:
        return self._at

    def Column(self, number: int) -> SqlValue:
        if number < 0:
            return self._at
        if number >= self._first:
            if number < self._behind:
                return self._arguments[number - self._first]
            number -= len(self._arguments)
        if self._cell is not None and number >= self._table.stored:
            return self._cell(self._at, number)
        if self._fetched != self._at:
            self._row = self._fetch(self._at)
            self._fetched = self._at
        return self._row[number]

    def Close(self) -> None:
        self._close()


def _no_row(_place: int) -> Sequence[SqlValue]:
    return ()
