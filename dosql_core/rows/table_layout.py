"""What the tables looked like at a moment: columns, key, root page; how records become rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import KernelError, pragma_value, run
from dosql_core.kernel.past_connection import past_connection
from dosql_core.kernel.past_vfs import Pages

SETTINGS = ("user_version", "application_id")
_VIRTUAL, _STORED = 2, 3  # `hidden` of pragma_table_xinfo for generated columns

_TABLES = """
    SELECT l.name, l.wr, s.rootpage, s.sql, l.type = 'shadow'
    FROM pragma_table_list AS l JOIN sqlite_schema AS s ON s.name = l.name AND s.type = 'table'
    WHERE l.schema = 'main' AND l.type IN ('table', 'shadow') AND s.rootpage > 0
    ORDER BY s.rowid
"""
_INTERNAL_PREFIXES = ("sqlite_", "_dosql_")
_OBJECTS = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
_COLUMNS = "SELECT name, type, pk, hidden, dflt_value FROM pragma_table_xinfo(?) ORDER BY cid"


Identity = tuple[bool, tuple[SqlValue, ...]]
"""Whether it is a primary key, or else a rowid; and the values of it."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """One table at one moment.

    Shape: `columns` leaves generated columns out. `stored` tells for each value of a record which
           of `columns` it is, None for a generated one. `key` are the columns of the primary key;
           empty where only the rowid tells rows apart. `is_shadow`: it holds what a virtual table
           keeps for itself. `is_plain`: a record holds the values of `columns` in
           this order.
    """

    name: str
    sql: str
    root_page: int
    columns: tuple[str, ...]
    key: tuple[str, ...]
    has_rowid: bool
    rowid_column: int | None
    stored: tuple[int | None, ...]
    real_columns: frozenset[int]
    defaults: tuple[SqlValue, ...]
    key_places: tuple[int, ...]
    is_shadow: bool
    is_plain: bool
    declared_types: tuple[str, ...]

    def row(self, record: Sequence[SqlValue], rowid: int | None) -> tuple[SqlValue, ...]:
        """The values of `columns`, from a record as it is stored."""
        if self.is_plain and len(record) == len(self.columns):
            values = list(record)
        else:
            values = list(self.defaults)
            for place, value in zip(self.stored, record, strict=False):
                if place is not None:
                    values[place] = value
        if self.rowid_column is not None:
            values[self.rowid_column] = rowid
        for place in self.real_columns:
            if type(values[place]) is int:  # a whole number is stored as an integer to save room
                values[place] = float(values[place])  # type: ignore[arg-type]
        return tuple(values)

    def identity(self, row: Sequence[SqlValue], rowid: int | None) -> Identity:
        """What tells the row from others: its primary key, or its rowid where it has none.

        A key of a table with rowids may hold NULLs, and then it tells nothing.
        """
        places = self.key_places
        if len(places) == 1:
            key: tuple[SqlValue, ...] = (row[places[0]],)
        else:
            key = tuple([row[place] for place in places])
        if not key or (self.has_rowid and None in key):
            return False, (rowid,)
        return True, key


def renamed_columns(before: TableLayout, after: TableLayout) -> dict[str, str]:
    """Old name to new name, where a table kept its tree and the places of its columns.

    That is what RENAME COLUMN leaves behind: it changes no row, only what the columns are called.
    """
    if (
        before.root_page != after.root_page
        or before.has_rowid != after.has_rowid
        or before.stored != after.stored[: len(before.stored)]
    ):
        return {}
    differing = {
        old: new for old, new in zip(before.columns, after.columns, strict=False) if old != new
    }
    is_rename = not any(
        new in before.columns or old in after.columns for old, new in differing.items()
    )
    return differing if is_rename else {}


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a moment.

    Shape: `tables` by name, without virtual tables and those that SQLite and DoSQL keep;
           `objects` is the SQL of every table, index, view and trigger by kind and name;
           `settings` are the numbers that programs keep in the file's header.
    """

    tables: dict[str, TableLayout]
    objects: dict[tuple[str, str], str]
    settings: dict[str, int] = field(default_factory=dict)


def read_schema(pages: Pages) -> Schema:
    """The schema of a moment, as SQLite understands it."""
    if pages.page_count == 0:
        return Schema({}, {})
    with past_connection(pages) as connection:
        tables = {
            name: _layout(connection, name, sql, root_page, bool(without_rowid), bool(is_shadow))
            for name, without_rowid, root_page, sql, is_shadow in run(connection, _TABLES)
            if not name.startswith(_INTERNAL_PREFIXES)
        }
        objects = {
            (kind, name): sql
            for kind, name, sql in run(connection, _OBJECTS)
            if not name.startswith(_INTERNAL_PREFIXES)
        }
        settings = {name: int(pragma_value(connection, name)) for name in SETTINGS}
        return Schema(tables, objects, settings)


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A table, index, view or trigger that was made, dropped or altered; None is not there."""

    kind: str
    name: str
    before: str | None
    after: str | None


def schema_changes(before: Schema, after: Schema) -> list[SchemaChange]:
    """The objects that are not defined the same at both moments."""
    return [
        SchemaChange(kind, name, before.objects.get((kind, name)), after.objects.get((kind, name)))
        for kind, name in dict.fromkeys([*before.objects, *after.objects])
        if before.objects.get((kind, name)) != after.objects.get((kind, name))
    ]


def _layout(
    connection: Any, name: str, sql: str, root_page: int, without_rowid: bool, is_shadow: bool
) -> TableLayout:
    described = run(connection, _COLUMNS, (name,))
    ordinary = [column for column in described if column[3] not in (_VIRTUAL, _STORED)]
    places = {column[0]: place for place, column in enumerate(ordinary)}
    key = tuple(column[0] for column in sorted(ordinary, key=lambda c: c[2]) if column[2])
    in_record = [column for column in described if column[3] != _VIRTUAL]
    if without_rowid:
        in_record = [column for column in in_record if column[0] in key] + [
            column for column in in_record if column[0] not in key
        ]
        in_record[: len(key)] = sorted(in_record[: len(key)], key=lambda c: c[2])
    rowid_column = None
    if not without_rowid and len(key) == 1 and _is_rowid_alias(connection, name, key[0]):
        rowid_column = places[key[0]]
    return TableLayout(
        name=name,
        sql=sql,
        root_page=root_page,
        columns=tuple(places),
        key=key,
        has_rowid=not without_rowid,
        rowid_column=rowid_column,
        stored=tuple(places.get(column[0]) for column in in_record),
        real_columns=frozenset(
            place for place, column in enumerate(ordinary) if has_real_affinity(column[1])
        ),
        defaults=_defaults(connection, ordinary),
        key_places=tuple(places[name] for name in key),
        is_shadow=is_shadow,
        declared_types=tuple(column[1] for column in ordinary),
        is_plain=[places.get(column[0]) for column in in_record] == list(range(len(places))),
    )


def has_real_affinity(declared_type: str) -> bool:
    """Whether a declared type means REAL affinity.

    Source: https://sqlite.org/datatype3.html, "Determination Of Column Affinity".
    """
    words = declared_type.upper()
    if any(word in words for word in ("INT", "CHAR", "CLOB", "TEXT", "BLOB")):
        return False
    return any(word in words for word in ("REAL", "FLOA", "DOUB"))


def _is_rowid_alias(connection: Any, table: str, column: str) -> bool:
    """Whether the only column of the key is the rowid itself: then no index enforces the key."""
    indexes = run(connection, "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", (table,))
    return not indexes


def _defaults(connection: Any, columns: Sequence[Sequence[Any]]) -> tuple[SqlValue, ...]:
    """What a column holds in rows older than itself: the default it was added with."""
    if all(column[4] is None for column in columns):
        return (None,) * len(columns)
    values: list[SqlValue] = []
    for _name, declared_type, _key, _hidden, default in columns:
        if default is None:
            values.append(None)
            continue
        # A column of that type and default gives the value the affinity it will have.
        run(connection, "DROP TABLE IF EXISTS temp._dosql_default")
        try:
            run(
                connection,
                f"CREATE TEMP TABLE _dosql_default(one, value {declared_type} DEFAULT {default})",
            )
            run(connection, "INSERT INTO temp._dosql_default(one) VALUES (1)")
            values.append(run(connection, "SELECT value FROM temp._dosql_default")[0][0])
        except KernelError:
            values.append(None)  # no constant: then the column was there from the beginning
    return tuple(values)
