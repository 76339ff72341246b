"""What a database holds, read from its schema through any connection."""

from __future__ import annotations

from dataclasses import dataclass

from dosql_core.command_line.opening import Connection
from dosql_core.command_line.reporting import CommandFailedError
from dosql_core.command_line.sql_words import identifier

USER_OBJECTS = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
"""SQL: whether a row of sqlite_schema is the user's, and not SQLite's own."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `key_position` counts from 1 in the primary key, 0 is outside it."""

    name: str
    declared_type: str
    key_position: int
    is_generated: bool

    @property
    def affinity(self) -> str:
        """What SQLite makes of values stored in the column.

        Source: https://www.sqlite.org/datatype3.html, "Determination Of Column Affinity"
        """
        declared = self.declared_type.upper()
        if "INT" in declared:
            return "integer"
        if any(part in declared for part in ("CHAR", "CLOB", "TEXT")):
            return "text"
        if not declared or "BLOB" in declared:
            return "blob"
        if any(part in declared for part in ("REAL", "FLOA", "DOUB")):
            return "real"
        return "numeric"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what is needed to copy or compare its rows."""

    name: str
    columns: tuple[Column, ...]
    has_rowid: bool

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order; empty where the table has none."""
        keyed = sorted(
            (column for column in self.columns if column.key_position),
            key=lambda column: column.key_position,
        )
        return tuple(column.name for column in keyed)

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """The columns an INSERT may name."""
        return tuple(column for column in self.columns if not column.is_generated)


def table_names(connection: Connection, pattern: str = "%") -> list[str]:
    """Tables and views whose names are LIKE the pattern, in order."""
    rows = connection.execute(
        f"SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND {USER_OBJECTS}"
        " AND name LIKE ? ORDER BY 1",
        (pattern,),
    )
    return [name for (name,) in rows]


def data_tables(connection: Connection) -> list[str]:
    """Ordinary tables that hold the user's rows: no views, virtual tables or their shadows."""
    rows = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        f" AND {USER_OBJECTS} ORDER BY name"
    )
    return [name for (name,) in rows]


def describe_table(connection: Connection, name: str) -> Table:
    """The table or view of that name.

    Errors: CommandFailedError when there is none.
    """
    # table_xinfo: 1 is a hidden column of a virtual table, 2 and 3 are generated ones
    rows = connection.execute(
        "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)", (name,)
    ).fetchall()
    columns = tuple(
        Column(column, declared or "", key, hidden in (2, 3))
        for column, declared, key, hidden in rows
        if hidden != 1
    )
    if not columns:
        similar = _similar(name, table_names(connection))
        raise CommandFailedError(
            f"there is no table {name}", f"did you mean {similar}?" if similar else ""
        )
    return Table(name, columns, _has_rowid(connection, name))


def table_exists(connection: Connection, name: str) -> bool:
    """Whether a table or view of that name is there."""
    row = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
        (name,),
    ).fetchone()
    return row is not None


def row_count(connection: Connection, name: str) -> int:
    """Rows in the table."""
    (count,) = connection.execute(f"SELECT count(*) FROM {identifier(name)}").fetchone()
    return int(count)


def _has_rowid(connection: Connection, name: str) -> bool:
    row = connection.execute(
        "SELECT type, wr FROM pragma_table_list WHERE name = ? COLLATE NOCASE", (name,)
    ).fetchone()
    return row is not None and row[0] == "table" and not row[1]


def _similar(name: str, names: list[str]) -> str | None:
    import difflib

    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return close[0] if close else None
