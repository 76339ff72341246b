"""What differs between two moments: rows added, removed and changed, table by table.

SQLite does the comparing, with both moments' tables joined on their key, so memory stays small
whatever the tables hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dosql_core.command_line.moments import Moment, table_at
from dosql_core.command_line.opening import Target, connect
from dosql_core.command_line.reporting import CommandFailedError
from dosql_core.command_line.schema import Table, data_tables, describe_table
from dosql_core.command_line.sql_words import identifier
from dosql_core.identifiers import SqlValue

ADDED = "added"
REMOVED = "removed"
CHANGED = "changed"

ROWID = "rowid"


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that differs; `before` and `after` hold the columns both moments have, by name.

    Shape: an added row has no `before`, a removed one no `after`; of a changed row both hold only
    the columns that changed.
    """

    table: str
    kind: str
    key: dict[str, SqlValue]
    before: dict[str, SqlValue] | None
    after: dict[str, SqlValue] | None

    def to_json(self) -> dict[str, Any]:
        """The difference as plain values."""
        return {
            "table": self.table,
            "change": self.kind,
            "key": self.key,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class TablePair:
    """One table at both moments; None where a moment has no such table."""

    name: str
    before: Table | None
    after: Table | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns both moments have."""
        assert self.before and self.after
        present = {column.name for column in self.after.columns}
        return tuple(column.name for column in self.before.columns if column.name in present)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes a row the same row at both moments.

        A table without a primary key is compared by rowid, which VACUUM may change.
        """
        assert self.before and self.after
        if self.before.key and self.before.key == self.after.key:
            return self.before.key
        if self.before.has_rowid and self.after.has_rowid:
            return (ROWID,)
        raise CommandFailedError(
            f"table {self.name} has another key at each moment, so its rows cannot be paired"
        )


class Comparison:
    """The difference between two moments of one database."""

    def __init__(self, target: Target, before: Moment, after: Moment | None) -> None:
        """Open the present and both moments; `after` None is the present."""
        self._before, self._after = before, after
        self._connection = connect(target)
        try:
            self.pairs = self._pair_tables(target)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def only(self, name: str) -> TablePair:
        """The table of that name.

        Errors: CommandFailedError when neither moment has it.
        """
        for pair in self.pairs:
            if pair.name.lower() == name.lower():
                return pair
        raise CommandFailedError(f"neither moment has a table {name}")

    def differences(self, pair: TablePair) -> Iterator[RowDifference]:
        """The rows that differ, removed ones first, then changed, then added."""
        if pair.before is None or pair.after is None:
            return
        yield from self._one_sided(pair, REMOVED)
        yield from self._changed(pair)
        yield from self._one_sided(pair, ADDED)

    def _pair_tables(self, target: Target) -> list[TablePair]:
        before = _tables_at(target, self._before)
        after = _tables_at(target, self._after)
        names = sorted(before.keys() | after.keys())
        return [TablePair(name, before.get(name), after.get(name)) for name in names]

    def _one_sided(self, pair: TablePair, kind: str) -> Iterator[RowDifference]:
        here, there = (
            (self._before, self._after) if kind == REMOVED else (self._after, self._before)
        )
        key, columns = pair.key, pair.columns
        same_key = _same(key)
        cursor = self._connection.execute(
            f"SELECT {_names('this', key + columns)} FROM {table_at(pair.name, here, 'this')}"
            f" WHERE NOT EXISTS (SELECT 1 FROM {table_at(pair.name, there, 'other')}"
            f" WHERE {same_key}) ORDER BY {_names('this', key)}"
        )
        for row in cursor:
            values = dict(zip(columns, row[len(key) :], strict=True))
            yield RowDifference(
                table=pair.name,
                kind=kind,
                key=dict(zip(key, row, strict=False)),
                before=values if kind == REMOVED else None,
                after=values if kind == ADDED else None,
            )

    def _changed(self, pair: TablePair) -> Iterator[RowDifference]:
        key = pair.key
        columns = tuple(name for name in pair.columns if name not in key)
        if not columns:
            return
        differs = " OR ".join(
            f"this.{identifier(name)} IS NOT other.{identifier(name)}" for name in columns
        )
        cursor = self._connection.execute(
            f"SELECT {_names('this', key + columns)}, {_names('other', columns)}"
            f" FROM {table_at(pair.name, self._before, 'this')}"
            f" JOIN {table_at(pair.name, self._after, 'other')} ON {_same(key)}"
            f" WHERE {differs} ORDER BY {_names('this', key)}"
        )
        for row in cursor:
            old = row[len(key) : len(key) + len(columns)]
            new = row[len(key) + len(columns) :]
            changed = [i for i in range(len(columns)) if not _is_same(old[i], new[i])]
            yield RowDifference(
                table=pair.name,
                kind=CHANGED,
                key=dict(zip(key, row, strict=False)),
                before={columns[i]: old[i] for i in changed},
                after={columns[i]: new[i] for i in changed},
            )


def _tables_at(target: Target, moment: Moment | None) -> dict[str, Table]:
    connection = connect(
        target if moment is None else target.at(branch=target.branch, as_of=moment)
    )
    try:
        return {name: describe_table(connection, name) for name in data_tables(connection)}
    finally:
        connection.close()


def _same(key: tuple[str, ...]) -> str:
    # `IS` would pair NULL keys, but SQLite cannot use an index for it in every case, and a NULL
    # in a declared key equals no other one.
    return " AND ".join(f"this.{identifier(name)} = other.{identifier(name)}" for name in key)


def _names(alias: str, names: tuple[str, ...]) -> str:
    return ", ".join(f"{alias}.{identifier(name)}" for name in names)


def _is_same(one: SqlValue, other: SqlValue) -> bool:
    return one == other and type(one) is type(other)
