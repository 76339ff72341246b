"""The difference between two moments as SQL that makes the first into the second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

import dosql_dbapi
from dosql_core.command_line.sql_words import name_for_sql
from dosql_core.command_line.values import sql_literal
from dosql_core.history.differences import Difference
from dosql_core.rows.row_change import ROWID, NamedValues, Operation, RowChange

_VIRTUAL = "CREATE VIRTUAL"
_KEPT_ASIDE = "_dosql_before_{}"
_ROWID_NAMES = (ROWID, "_rowid_", "oid")
_TABLE_OF = "SELECT name, tbl_name FROM sqlite_schema WHERE type = ?"
_UNIQUE_COLUMNS = """
    SELECT i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i
    WHERE l."unique" AND l.origin <> 'pk'
"""


def difference_as_sql(difference: Difference, table: str | None = None) -> Iterator[str]:
    """Statements, one at a time, of `table` or of everything; none if nothing differs.

    They run as they come: triggers are out of the way while rows are changed, foreign keys are off,
    and values that change places among rows with a UNIQUE column do not collide.
    """
    script = _Script(difference, table)
    statements = [*script.before_rows(), *script.rows(), *script.after_rows()]
    if statements:
        yield "PRAGMA foreign_keys = OFF;"
        yield "PRAGMA legacy_alter_table = ON;"  # or views would follow a table that is put aside
        yield "BEGIN IMMEDIATE;"
        yield from statements
        yield "COMMIT;"
        yield "PRAGMA legacy_alter_table = OFF;"
        yield "PRAGMA foreign_keys = ON;"


class _Script:
    """What has to be done, in the order in which it can be."""

    def __init__(self, difference: Difference, table: str | None) -> None:
        self._difference = difference
        self._changes = [
            change
            for change in difference.rows(table)
            if change.before is None or change.after is None or change.changed_columns
        ]
        self._old, self._new = (schema.objects for schema in difference.schemas)
        tables = set(difference.tables)
        self._tables = tables if table is None else {n for n in tables if _is_named(n, table)}
        self._changed = [
            (change.kind, change.name)
            for change in difference.schema_changes()
            if table is None or _is_named(change.name, table)
        ]
        self._rebuilt = [
            name
            for kind, name in self._changed
            if kind == "table" and self._is_ordinary(name) and self._in_both(kind, name)
        ]
        self._table_of_index, self._unique = _indexes(self._new)
        # An update that may collide, or of a table made anew, is a deletion and an insertion.
        self._replaced = {
            id(change)
            for change in self._changes
            if change.operation is Operation.UPDATE and self._may_collide(change)
        }

    def before_rows(self) -> Iterator[str]:
        """Triggers out of the way, tables as they will be."""
        for kind, name in [*self._triggers(self._old), *self._changed]:
            is_dropped = kind in ("view", "index") or (kind, name) not in self._new
            if kind == "trigger" or (kind != "table" and is_dropped and (kind, name) in self._old):
                yield f"DROP {kind.upper()} IF EXISTS {name_for_sql(name)};"
        for kind, name in self._changed:
            if kind != "table":
                continue
            new = self._new.get((kind, name))
            if name in self._rebuilt:
                yield from self._rebuild(name, str(new))
            elif self._is_ordinary(name) or self._is_virtual(name):
                if (kind, name) in self._old:
                    yield f"DROP TABLE {name_for_sql(name)};"
                if new is not None:
                    yield f"{new};"

    def rows(self) -> Iterator[str]:
        """Rows that go, change, and come."""
        for change in self._changes:
            is_done = change.table in self._rebuilt or ("table", change.table) not in self._new
            if self._goes(change) and not is_done:
                yield self._deletion(change, change.table)
        for change in self._changes:
            if change.operation is Operation.UPDATE and not self._goes(change):
                assert change.after is not None
                assigned = ", ".join(
                    f"{name_for_sql(name)} = {sql_literal(change.after[name])}"
                    for name in change.changed_columns
                )
                table = name_for_sql(change.table)
                yield f"UPDATE {table} SET {assigned} WHERE {self._is_row(change)};"
        for change in self._changes:
            if change.after is not None and (change.before is None or self._goes(change)):
                yield self._insertion(change)

    def after_rows(self) -> Iterator[str]:
        """Indexes, views and triggers as they will be."""
        wanted = set(self._changed)
        wanted.update(self._triggers(self._new))
        wanted.update(
            ("index", name) for name, table in self._table_of_index if table in self._rebuilt
        )
        for key, sql in self._new.items():
            if key in wanted and key[0] != "table":
                yield f"{sql};"

    # -- parts -------------------------------------------------------------------------------------

    def _rebuild(self, name: str, sql: str) -> Iterator[str]:
        before, after = self._difference.columns(name)
        was_called = {new: old for old, new in self._difference.renamed_columns(name).items()}
        kept = {
            name_for_sql(column): name_for_sql(source)
            for column in after
            if (source := was_called.get(column, column)) in before
        }
        if self._difference.keeps_rowids(name):
            rowid = self._rowid_name(name)
            kept = {rowid: rowid, **kept}
        aside = name_for_sql(_KEPT_ASIDE.format(name))
        table = name_for_sql(name)
        yield f"ALTER TABLE {table} RENAME TO {aside};"
        yield f"{sql};"
        for change in self._changes:
            if change.table == name and self._goes(change):
                yield self._deletion(change, _KEPT_ASIDE.format(name))
        if kept:
            yield (
                f"INSERT INTO {table}({', '.join(kept)}) "
                f"SELECT {', '.join(kept.values())} FROM {aside};"
            )
        yield f"DROP TABLE {aside};"

    def _goes(self, change: RowChange) -> bool:
        """Whether the row, as it was, is taken out."""
        is_replaced = id(change) in self._replaced or change.table in self._rebuilt
        return change.before is not None and (change.after is None or is_replaced)

    def _deletion(self, change: RowChange, table: str) -> str:
        return f"DELETE FROM {name_for_sql(table)} WHERE {self._is_row(change)};"

    def _insertion(self, change: RowChange) -> str:
        assert change.after is not None
        row: NamedValues = dict(change.after)
        names = list(map(name_for_sql, row))
        values = list(map(sql_literal, row.values()))
        if self._goes_by_rowid(change) and self._difference.keeps_rowids(change.table):
            names.insert(0, self._rowid_name(change.table))
            values.insert(0, sql_literal(change.key[ROWID]))
        table = name_for_sql(change.table)
        return f"INSERT INTO {table}({', '.join(names)}) VALUES ({', '.join(values)});"

    def _is_row(self, change: RowChange) -> str:
        if self._goes_by_rowid(change):
            return f"{self._rowid_name(change.table)} = {sql_literal(change.key[ROWID])}"
        return " AND ".join(
            f"{name_for_sql(name)} = {sql_literal(value)}" for name, value in change.key.items()
        )

    def _goes_by_rowid(self, change: RowChange) -> bool:
        row = change.after or change.before or {}
        return list(change.key) == [ROWID] and ROWID not in row

    def _rowid_name(self, table: str) -> str:
        columns = {name.casefold() for names in self._difference.columns(table) for name in names}
        return next(name for name in _ROWID_NAMES if name not in columns)

    def _may_collide(self, change: RowChange) -> bool:
        unique = self._unique.get(change.table, set())
        return None in unique or not unique.isdisjoint(change.changed_columns)

    def _triggers(self, definitions: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
        if not self._changes and not self._rebuilt:
            return []
        return [key for key in definitions if key[0] == "trigger"]

    def _in_both(self, kind: str, name: str) -> bool:
        return (kind, name) in self._old and (kind, name) in self._new

    def _is_ordinary(self, name: str) -> bool:
        return name in self._tables

    def _is_virtual(self, name: str) -> bool:
        sql = self._new.get(("table", name)) or self._old.get(("table", name), "")
        return sql.upper().startswith(_VIRTUAL)


def _indexes(
    definitions: dict[tuple[str, str], str],
) -> tuple[list[tuple[str, str]], dict[str, set[str | None]]]:
    """The table of each index; and for each table the columns that are UNIQUE beside its key.

    None among them stands for an expression.
    """
    with closing(dosql_dbapi.connect(":memory:", isolation_level=None)) as scratch:
        for kind in ("table", "index"):
            for sql in _of_kind(definitions, kind):
                try:
                    scratch.execute(sql)
                except dosql_dbapi.Error:
                    continue  # of a module or function that is not here
        unique: dict[str, set[str | None]] = {}
        for name, _ in scratch.execute(_TABLE_OF, ("table",)).fetchall():
            unique[name] = {column for (column,) in scratch.execute(_UNIQUE_COLUMNS, (name,))}
        return scratch.execute(_TABLE_OF, ("index",)).fetchall(), unique


def _of_kind(definitions: dict[tuple[str, str], str], kind: str) -> Iterable[str]:
    return [sql for (of_kind, _), sql in definitions.items() if of_kind == kind]


def _is_named(name: str, table: str) -> bool:
    return name.casefold() == table.casefold()
