"""A DoSQL database as a source: a copy of its tables as of an LSN, and batches of what follows."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dosql_dbapi
from dolake.changes import (
    ROWID_KEY,
    Batch,
    Change,
    RowChange,
    SchemaChange,
    SourceCommit,
    SqlValue,
    TableSchema,
    Values,
)
from dolake.ingest.copy_spool import column_names
from dolake.ingest.source_schema import is_virtual, renamed_columns, schema_of_sql
from dosql_core import Database, open_database
from dosql_core.errors import ChangesNotKeptError, OperationalError, SlotNotFoundError

DEFAULT_SLOT = "dolake"
_ROWID = "rowid"  # the key of the events of a table without a primary key
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_COPY_ROWS = 5000
_SAME_COMMIT_MICROSECONDS = 1_000

_TABLES = """
    SELECT s.name, s.sql FROM sqlite_schema AS s JOIN pragma_table_list AS l ON l.name = s.name
    WHERE s.type = 'table' AND l.type = 'table' AND l.schema = 'main'
      AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND s.name NOT LIKE '\\_dosql\\_%' ESCAPE '\\'
    ORDER BY s.rowid
"""


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """A table of a copy. Shape: `row_count` is how many rows it will give."""

    schema: TableSchema
    row_count: int


class DatabaseSource:
    """One branch of a database, read by one consumer at a time.

    Shape:  `tables` are those that are wanted, all by default. The slot keeps every change that was
            not acknowledged, so the lake may be away for as long as the slot's limit lets it.
    Errors: DatabaseNotFoundError; SlotInUseError while another consumer has the slot.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        branch: str = "main",
        slot: str = DEFAULT_SLOT,
        tables: Collection[str] | None = None,
        begin_anew: bool = False,
    ) -> None:
        """Open it; `begin_anew` forgets what was acknowledged, as before a new copy."""
        self.path = os.fspath(path)
        self.name = name or Path(self.path).stem
        self.branch = branch
        self._slot = slot if branch == "main" else f"{slot}.{branch}"[:63]
        self._wanted = None if tables is None else {table.casefold() for table in tables}
        self._is_wanted: dict[str, bool] = {}  # until the schema changes
        self._reading: list[Any] = []
        self._holding = contextlib.ExitStack()
        self.database: Database = open_database(self.path)
        try:
            slots = self.database.changes.slots
            if begin_anew:
                with contextlib.suppress(SlotNotFoundError):
                    slots.drop(self._slot)
            slots.create(self._slot, branch, if_not_exists=True)
            self._holding.enter_context(self.database.changes.slots.consume(self._slot))
        except BaseException:
            self.close()
            raise

    @property
    def database_id(self) -> str:
        """What tells this database from any other."""
        return self.database.database_id

    @property
    def is_partial(self) -> bool:
        """Whether only some of its tables are wanted."""
        return self._wanted is not None

    @property
    def present_lsn(self) -> int:
        """The last commit of the branch."""
        return self.database.lsn(self.branch)

    def commit_time(self, lsn: int) -> int | None:
        """When a commit was made, in microseconds since 1970; None when that is not kept."""
        found = self.database.log(self.branch, first=lsn, last=lsn, limit=1)
        return _microseconds(found[0].committed_at) if found and found[0].lsn == lsn else None

    def check_commit(self, known: SourceCommit | None) -> None:
        """See that a commit which the lake has is ours.

        Errors: ChangesNotKeptError when we have another one of that LSN.
        """
        if known is None:
            return
        ours = self.commit_time(known.lsn)
        if ours is None or abs(ours - known.committed_at) < _SAME_COMMIT_MICROSECONDS:
            return
        raise ChangesNotKeptError(
            f"LSN {known.lsn} of {self.name}@{self.branch} was committed at "
            f"{_shown(known.committed_at)} as the lake has it, and at {_shown(ours)} in the "
            "database: it was restored from an older state, or the branch was made anew",
            hint="copy it anew (--copy), or give it another name (--name)",
        )

    @property
    def slot_lsn(self) -> int:
        """Up to where changes are acknowledged."""
        return self.database.changes.slots.get(self._slot).lsn

    def acknowledge(self, lsn: int) -> None:
        """Let go of the changes up to `lsn`: they are in the lake for good."""
        if lsn > self.slot_lsn:
            self.database.changes.slots.advance(self._slot, lsn)

    def end_waits(self) -> None:
        """End every iteration of `batches`, also those that wait in other threads."""
        while self._reading:
            self._reading.pop().close()

    def close(self) -> None:
        """Let go of the slot and the database."""
        self.end_waits()
        self._holding.close()
        self.database.close()

    def __enter__(self) -> DatabaseSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # -- the copy ----------------------------------------------------------------------------------

    def copy(self, lsn: int) -> Iterator[tuple[CopiedTable, Iterator[list[tuple[SqlValue, ...]]]]]:
        """The tables as of an LSN; each table's rows have to be read before the next table's."""
        with contextlib.closing(
            dosql_dbapi.connect(self.path, branch=self.branch, as_of=lsn, isolation_level=None)
        ) as connection:
            for name, sql in connection.execute(_TABLES).fetchall():
                if self._wants(name):
                    schema = schema_of_sql(name, sql)
                    (count,) = connection.execute(
                        f"SELECT count(*) FROM {_quoted(name)}"
                    ).fetchone()
                    yield CopiedTable(schema, count), _rows(connection, schema)

    # -- what follows ------------------------------------------------------------------------------

    def batches(self, after_lsn: int, *, follow: bool, rows_max: int = 2000) -> Iterator[Batch]:
        """Batches of whole commits from `after_lsn` on, each as soon as nothing more is there.

        Shape:  a batch holds at least one commit, however large that is.
        Errors: ChangesNotKeptError when history does not go back so far.
        """
        present = self.present_lsn
        if after_lsn > present:
            raise ChangesNotKeptError(
                f"the lake has LSN {after_lsn} of {self.name!r}, and the database only {present}: "
                "it was restored from an older state, or is another one",
                hint="copy it anew (--copy), or give it another name (--name)",
            )
        with self.database.changes.subscribe(
            after_lsn, self.branch, markers=True, follow=follow
        ) as changes:
            self._reading.append(changes)
            gathered: list[Change] = []
            began_after = after_lsn
            for lsn, events in changes.commits():
                gathered += self._changes_of(events)
                if len(gathered) < rows_max and lsn < present:
                    continue
                present = self.present_lsn
                if len(gathered) < rows_max and lsn < present:
                    continue
                yield Batch(self.name, self.branch, began_after, lsn, tuple(gathered))
                began_after, gathered = lsn, []
            if gathered or changes.lsn > began_after:
                yield Batch(self.name, self.branch, began_after, changes.lsn, tuple(gathered))

    def _changes_of(self, events: Sequence[Any]) -> Iterator[Change]:
        gone: set[str] = set()
        for event in events:
            operation = event.operation
            if operation == "schema":
                self._is_wanted.clear()
                if event.object_kind == "table" and self._wants(event.table):
                    change = self._schema_change(event)
                    if event.after is None:
                        gone.add(event.table)
                    if change is not None:
                        yield change
            elif operation in ("insert", "update", "delete"):
                table = event.table
                if table in gone or not self._wants(table):
                    continue
                key: Values = event.key
                if key.keys() == {_ROWID} and _ROWID not in (event.after or event.before or ()):
                    key = {ROWID_KEY: key[_ROWID]}  # also where a primary key holds NULL
                yield RowChange(
                    event.lsn,
                    event.index,
                    _microseconds(event.committed_at),
                    operation.value,
                    table,
                    key,
                    event.before,
                    event.after,
                )

    def _schema_change(self, event: Any) -> SchemaChange | None:
        before_sql = None if event.before is None else event.before["sql"]
        after_sql = None if event.after is None else event.after["sql"]
        if is_virtual(before_sql) or is_virtual(after_sql):
            return None
        before = None if before_sql is None else schema_of_sql(event.table, before_sql)
        after = None if after_sql is None else schema_of_sql(event.table, after_sql)
        if before == after:
            return None  # a constraint, say, which no mirror has
        renamed = {} if before is None or after is None else renamed_columns(before, after)
        return SchemaChange(
            event.lsn,
            event.index,
            _microseconds(event.committed_at),
            event.table,
            before,
            after,
            renamed,
        )

    def _wants(self, table: str) -> bool:
        known = self._is_wanted.get(table)
        if known is None:
            if self._wanted is not None:
                known = table.casefold() in self._wanted
            else:
                # What a virtual table keeps for itself is named after it.
                known = not any(table.startswith(f"{name}_") for name in self._virtual_tables())
            self._is_wanted[table] = known
        return known

    def _virtual_tables(self) -> set[str]:
        with contextlib.closing(
            dosql_dbapi.connect(self.path, branch=self.branch, isolation_level=None)
        ) as connection:
            found = connection.execute(
                "SELECT name FROM pragma_table_list WHERE type = 'virtual' AND schema = 'main'"
            )
            return {name for (name,) in found}


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _shown(microseconds: int) -> str:
    return (_EPOCH + microseconds * _MICROSECOND).isoformat(" ", "microseconds")


def _rows(connection: Any, schema: TableSchema) -> Iterator[list[tuple[SqlValue, ...]]]:
    names = column_names(schema)
    if ROWID_KEY not in names and _has_null_key(connection, schema):
        names = (ROWID_KEY, *names)
    columns = [_free_rowid_name(schema) if name == ROWID_KEY else _quoted(name) for name in names]
    # One order for both ways of reading it: that of the table itself, whatever indexes there are.
    table = f"{_quoted(schema.table)} NOT INDEXED"
    given = 0
    with contextlib.closing(connection.cursor()) as found:
        try:
            found.execute(f"SELECT {', '.join(columns)} FROM {table}")
            while rows := found.fetchmany(_COPY_ROWS):
                given += len(rows)
                yield rows
            return
        except OperationalError as error:
            is_odd_text = isinstance(error.__cause__, UnicodeDecodeError)
            if not is_odd_text or connection.execute("PRAGMA encoding").fetchone() != ("UTF-8",):
                raise
    yield from _rows_of_any_text(connection, columns, table, given)


def _rows_of_any_text(
    connection: Any, columns: Sequence[str], table: str, skipped: int
) -> Iterator[list[tuple[SqlValue, ...]]]:
    """The rows after the first ones, text that is no Unicode as change streams give it.

    The driver gives only Unicode as text, so SQLite tells text by its bytes, and a blob by digits.
    """
    told = [
        f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) "
        f"WHEN 'blob' THEN hex({name}) ELSE {name} END"
        for name in columns
    ]

    def value(found: SqlValue) -> SqlValue:
        if isinstance(found, bytes):
            return found.decode("utf-8", "surrogateescape")
        return bytes.fromhex(found) if isinstance(found, str) else found

    with contextlib.closing(connection.cursor()) as found:
        found.execute(f"SELECT {', '.join(told)} FROM {table} LIMIT -1 OFFSET {skipped}")
        while rows := found.fetchmany(_COPY_ROWS):
            yield [tuple(map(value, row)) for row in rows]


def _has_null_key(connection: Any, schema: TableSchema) -> bool:
    """Whether a row has NULL in its primary key, as SQLite lets it; its rowid tells it then."""
    null = " OR ".join(f"{_quoted(name)} IS NULL" for name in schema.key_columns)
    found = connection.execute(f"SELECT 1 FROM {_quoted(schema.table)} WHERE {null} LIMIT 1")
    return found.fetchone() is not None


def _free_rowid_name(schema: TableSchema) -> str:
    """A name of the rowid that no column has; a table may hide two of the three."""
    taken = {column.name.casefold() for column in schema.columns}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), "rowid")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
