"""Rows of a file into a table, in one transaction: all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dosql_core.command_line.opening import Connection
from dosql_core.command_line.reporting import CommandFailedError, ProgressReport, UsageError
from dosql_core.command_line.schema import describe_table, table_exists
from dosql_core.command_line.sql_words import identifier, name_for_sql
from dosql_core.command_line.transfer.column_types import (
    ColumnType,
    converter_for,
    guess,
    type_of,
    widened,
)
from dosql_core.command_line.transfer.file_source import STANDARD_INPUT, BadRowError
from dosql_core.command_line.transfer.import_transaction import import_transaction
from dosql_core.command_line.transfer.row_files import RowFile, open_rows
from dosql_core.errors import Error
from dosql_core.identifiers import SqlValue

ROWS_GUESSED_FROM = 10_000

_ROWS_A_REPORT = 2_048
_LONGEST_VALUE_TOLD = 40

IF_EXISTS = ("append", "replace", "fail")


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What an import did; `types` are those of the columns, where it made the table."""

    row_count: int
    table_created: bool
    types: dict[str, ColumnType]
    widened_columns: dict[str, str]
    """Columns whose type, guessed from the first rows, had to give way, and to which value."""


class _GuessWasWrongError(Exception):
    """A value further down does not fit the type guessed from the first rows."""

    def __init__(self, column: str, value: Any) -> None:
        super().__init__(column, value)
        self.column = column
        self.value = value


@dataclass(slots=True)
class RowImport:
    """One import, as asked for.

    `types` override the guess. With `if_exists` "append" rows join those of a table that is
    there, "replace" drops it first, "fail" refuses.
    """

    path: str
    table: str
    file_format: str
    types: dict[str, ColumnType] = field(default_factory=dict)
    if_exists: str = "append"
    primary_key: tuple[str, ...] = ()
    delimiter: str | None = None
    has_header: bool = True
    null_text: str | None = None
    encoding: str = "utf-8-sig"
    lines_skipped: int = 0

    def run(
        self,
        connection: Connection,
        report: ProgressReport | None = None,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> ImportOutcome:
        """Carry it out; `checkpoint` is called now and then and may raise to stop it.

        Errors: BadRowError naming the line; CommandFailedError; UsageError.
        """
        guessed: dict[str, ColumnType] = {}
        widened_columns: dict[str, str] = {}
        while True:
            try:
                with import_transaction(connection):
                    outcome = self._attempt(connection, guessed, report, checkpoint)
            except _GuessWasWrongError as wrong:
                # Rare, and the file is still there: start over with the wider type.
                guessed[wrong.column] = widened(guessed[wrong.column], type_of(wrong.value))
                widened_columns[wrong.column] = _told(wrong.value)
                continue
            outcome.widened_columns.update(widened_columns)
            return outcome

    def names_columns_of(self, connection: Connection) -> bool:
        """Whether the first line holds a name of one of the table's columns.

        Errors: CommandFailedError when the file cannot be read.
        """
        rows_file = self._open()
        try:
            known = {c.name.lower() for c in describe_table(connection, self.table).stored_columns}
            return any(name.lower() in known for name in rows_file.columns)
        finally:
            rows_file.close()

    def _open(self) -> RowFile:
        return open_rows(
            self.path,
            self.file_format,
            delimiter=self.delimiter,
            has_header=self.has_header,
            null_text=self.null_text,
            encoding=self.encoding,
            lines_skipped=self.lines_skipped,
        )

    def _attempt(
        self,
        connection: Connection,
        guessed: dict[str, ColumnType],
        report: ProgressReport | None,
        checkpoint: Callable[[], None],
    ) -> ImportOutcome:
        rows_file = self._open()
        try:
            return self._load(connection, rows_file, guessed, report, checkpoint)
        finally:
            rows_file.close()

    def _load(
        self,
        connection: Connection,
        rows_file: RowFile,
        guessed: dict[str, ColumnType],
        report: ProgressReport | None,
        checkpoint: Callable[[], None],
    ) -> ImportOutcome:
        self._check_names(rows_file.columns)
        if self.if_exists == "replace":
            connection.execute(f"DROP TABLE IF EXISTS {identifier(self.table)}")
        is_new = not table_exists(connection, self.table)
        if not is_new and self.if_exists == "fail":
            raise CommandFailedError(f"table {self.table} is already there")
        rows = rows_file.rows()
        first_rows: list[tuple[int, list[Any]]] = []
        if is_new:
            for row in islice(rows, ROWS_GUESSED_FROM):
                first_rows.append((rows_file.line_number, row))
            self._guess_types(rows_file.columns, [row for _, row in first_rows], guessed)
            types = {name: self.types.get(name, guessed[name]) for name in rows_file.columns}
            self._create_table(connection, types)
            targets = rows_file.columns
        else:
            targets, types = self._match_columns(connection, rows_file.columns)
        sql = (
            f"INSERT INTO {identifier(self.table)} ({', '.join(map(identifier, targets))})"
            f" VALUES ({', '.join('?' * len(targets))})"
        )
        loader = _Loader(self, rows_file, types, guessed if is_new else {})
        total_bytes = None if self.path == STANDARD_INPUT else Path(self.path).stat().st_size

        def told_rows() -> Iterator[list[SqlValue]]:
            for row in loader.converted(first_rows, rows):
                yield row
                if not loader.row_count % _ROWS_A_REPORT:
                    checkpoint()
                    if report:
                        report(rows_file.bytes_read(), total_bytes)

        try:
            connection.executemany(sql, told_rows())
        except Error as error:
            if loader.row_count == 0:
                raise
            raise BadRowError(loader.line_number, str(error), error.hint) from error
        return ImportOutcome(loader.row_count, is_new, types, {})

    def _check_names(self, columns: list[str]) -> None:
        for name in (*self.types, *self.primary_key):
            if name not in columns:
                raise UsageError(f"the file has no column {name}", f"it has {', '.join(columns)}")

    def _guess_types(
        self, columns: list[str], rows: list[list[Any]], guessed: dict[str, ColumnType]
    ) -> None:
        for index, name in enumerate(columns):
            if name not in guessed:
                guessed[name] = guess(row[index] for row in rows)

    def _create_table(self, connection: Connection, types: dict[str, ColumnType]) -> None:
        definitions = [
            name_for_sql(name)
            + ("" if column_type is ColumnType.ANY else f" {column_type.value}")
            + (" PRIMARY KEY" if self.primary_key == (name,) else "")
            for name, column_type in types.items()
        ]
        if len(self.primary_key) > 1:
            definitions.append(f"PRIMARY KEY ({', '.join(map(identifier, self.primary_key))})")
        body = ",\n  ".join(definitions)
        connection.execute(f"CREATE TABLE {name_for_sql(self.table)} (\n  {body}\n)")

    def _match_columns(
        self, connection: Connection, columns: list[str]
    ) -> tuple[list[str], dict[str, ColumnType]]:
        """The table's columns that the file's go into, and the types these must have."""
        table = describe_table(connection, self.table)
        stored = {column.name.lower(): column for column in table.stored_columns}
        if not self.has_header:
            if len(columns) != len(stored):
                raise CommandFailedError(
                    f"the file has {len(columns)} columns, table {self.table} has {len(stored)}"
                )
            matched = list(stored.values())
        else:
            unknown = [name for name in columns if name.lower() not in stored]
            if unknown:
                raise CommandFailedError(
                    f"table {self.table} has no column {', '.join(unknown)}",
                    f"its columns are {', '.join(c.name for c in table.stored_columns)}",
                )
            matched = [stored[name.lower()] for name in columns]
        types = {
            name: self.types.get(name, _TYPE_OF_AFFINITY[column.affinity])
            for name, column in zip(columns, matched, strict=True)
        }
        return [column.name for column in matched], types


# A numeric or untyped column takes anything, so SQLite decides there.
_TYPE_OF_AFFINITY = {
    "integer": ColumnType.INTEGER,
    "real": ColumnType.REAL,
    "text": ColumnType.TEXT,
    "numeric": ColumnType.ANY,
    "blob": ColumnType.ANY,
}


class _Loader:
    """Turns rows as read into rows as stored, and knows which line it is at."""

    def __init__(
        self,
        asked: RowImport,
        rows_file: RowFile,
        types: dict[str, ColumnType],
        guessed: dict[str, ColumnType],
    ) -> None:
        self._asked = asked
        self._rows_file = rows_file
        self._types = types
        self._guessed = guessed
        self.row_count = 0
        self.line_number = 0

    def converted(
        self, first_rows: list[tuple[int, list[Any]]], others: Iterator[list[Any]]
    ) -> Iterator[list[SqlValue]]:
        converters = [converter_for(column_type) for column_type in self._types.values()]
        for line_number, row in self._numbered(first_rows, others):
            self.line_number = line_number
            try:
                values = [convert(value) for convert, value in zip(converters, row, strict=True)]
            except (ValueError, TypeError):
                self._refuse(row)
            self.row_count += 1
            yield values

    def _numbered(
        self, first_rows: list[tuple[int, list[Any]]], others: Iterator[list[Any]]
    ) -> Iterator[tuple[int, list[Any]]]:
        yield from first_rows
        for row in others:
            yield self._rows_file.line_number, row

    def _refuse(self, row: list[Any]) -> None:
        for (name, column_type), value in zip(self._types.items(), row, strict=True):
            try:
                converter_for(column_type)(value)
            except (ValueError, TypeError):
                is_guess = name in self._guessed and name not in self._asked.types
                if is_guess and self._asked.path != STANDARD_INPUT:
                    raise _GuessWasWrongError(name, value) from None
                raise BadRowError(
                    self.line_number,
                    f"column {name}: {_told(value)} is not {_TYPE_NAMES[column_type]}",
                    f"import the column as text: --type {name}=text" if is_guess else "",
                ) from None


_TYPE_NAMES = {
    ColumnType.INTEGER: "an integer",
    ColumnType.REAL: "a number",
    ColumnType.TEXT: "a text",
    ColumnType.BLOB: "a blob in hex",
    ColumnType.ANY: "a value",
}


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE_TOLD else text[:_LONGEST_VALUE_TOLD] + "…"
