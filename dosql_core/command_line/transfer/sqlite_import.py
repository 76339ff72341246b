"""Tables of another SQLite file, copied into a database in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dosql_core.command_line.opening import Connection
from dosql_core.command_line.reporting import CommandFailedError, ProgressReport
from dosql_core.command_line.schema import USER_OBJECTS
from dosql_core.command_line.sql_words import identifier
from dosql_core.command_line.transfer.import_transaction import import_transaction

_INCOMING = "dosql_incoming"


@dataclass(frozen=True, slots=True)
class CopiedTables:
    """What was copied: rows by table, and objects that cannot be copied."""

    row_counts: dict[str, int]
    left_out: tuple[str, ...]


def import_sqlite_file(
    connection: Connection,
    path: str,
    tables: Sequence[str] = (),
    report: ProgressReport | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> CopiedTables:
    """Copy the named tables, or all, with their indexes, triggers and views.

    Virtual tables are left out, and told: what they keep beside themselves is theirs.
    Errors: CommandFailedError when a table is there already, or the file has none of that name.
    """
    if connection.in_transaction:
        raise CommandFailedError("a transaction is open", "commit or roll back first")
    connection.execute(f"ATTACH ? AS {_INCOMING}", (path,))
    try:
        with import_transaction(connection):
            connection.execute("PRAGMA defer_foreign_keys = ON")
            return _copy(connection, path, tables, report, checkpoint)
    finally:
        connection.execute(f"DETACH {_INCOMING}")


def _copy(
    connection: Connection,
    path: str,
    tables: Sequence[str],
    report: ProgressReport | None,
    checkpoint: Callable[[], None],
) -> CopiedTables:
    kinds = dict(
        connection.execute(
            "SELECT name, type FROM pragma_table_list WHERE schema = ?", (_INCOMING,)
        ).fetchall()
    )
    objects = connection.execute(
        f"SELECT type, name, tbl_name, sql FROM {_INCOMING}.sqlite_schema"
        f" WHERE sql IS NOT NULL AND {USER_OBJECTS} ORDER BY rowid"
    ).fetchall()
    present = [name for kind, name, _, _ in objects if kind == "table"]
    unknown = [name for name in tables if name not in present]
    if unknown:
        raise CommandFailedError(
            f"{path} has no table {', '.join(unknown)}", f"it has {', '.join(present)}"
        )
    chosen = set(tables or present)
    copied = [name for name in present if name in chosen and kinds.get(name) == "table"]
    row_counts: dict[str, int] = {}
    for done, (name, sql) in enumerate(
        (name, sql) for kind, name, _, sql in objects if kind == "table" and name in copied
    ):
        checkpoint()
        if report:
            report(done, len(copied))
        row_counts[name] = _copy_table(connection, name, sql)
    for kind, name, table, sql in objects:
        if kind != "table" and (table in copied or (kind == "view" and not tables)):
            checkpoint()
            _refuse_existing(connection, kind, name)
            connection.execute(sql)
    _copy_sequences(connection, copied)
    left_out = tuple(name for name in present if name in chosen and kinds.get(name) == "virtual")
    return CopiedTables(row_counts, left_out)


def _copy_table(connection: Connection, name: str, sql: str) -> int:
    _refuse_existing(connection, "table", name)
    connection.execute(sql)
    columns = [
        column
        for (column,) in connection.execute(
            "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,)
        )
    ]
    names = ", ".join(map(identifier, columns))
    # In the order of their rowids, so that rows without a key of their own keep their order.
    return int(
        connection.execute(
            f"INSERT INTO main.{identifier(name)} ({names})"
            f" SELECT {names} FROM {_INCOMING}.{identifier(name)}"
        ).rowcount
    )


def _refuse_existing(connection: Connection, kind: str, name: str) -> None:
    taken = connection.execute(
        "SELECT 1 FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE", (name,)
    ).fetchone()
    if taken:
        raise CommandFailedError(
            f"{kind} {name} is already there", "drop or rename it, or choose others with --table"
        )


def _copy_sequences(connection: Connection, tables: Sequence[str]) -> None:
    """Let AUTOINCREMENT go on where the other file stopped."""
    has_sequences = connection.execute(
        f"SELECT 1 FROM {_INCOMING}.sqlite_schema WHERE name = 'sqlite_sequence'"
    ).fetchone()
    if not has_sequences:
        return
    for name in tables:
        row = connection.execute(
            f"SELECT seq FROM {_INCOMING}.sqlite_sequence WHERE name = ?", (name,)
        ).fetchone()
        if row:
            connection.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (name,))
            connection.execute("INSERT INTO main.sqlite_sequence VALUES (?, ?)", (name, row[0]))
