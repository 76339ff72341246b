"""Results as Arrow tables and streams of batches, and Arrow data into tables; needs pyarrow.

Rows go from SQLite into columns directly: row factories, converters and text_factory are not asked.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from dosql_core.errors import DataError, ProgrammingError, UnsupportedParameterError
from dosql_dbapi import execution
from dosql_dbapi.arrow_types import Column, asked_types, declared_arrow_type, require_pyarrow

if TYPE_CHECKING:
    import pyarrow

    from dosql_dbapi.connection import Connection
    from dosql_dbapi.cursor import Cursor

ArrowTypes: TypeAlias = "pyarrow.Schema | Mapping[str, pyarrow.DataType] | None"

ROWS_PER_BATCH = 10_000
_UNDECIDED_BATCHES_MAX = 16


# -- out of the database ---------------------------------------------------------------------------


def fetch_table(cursor: Cursor, schema: ArrowTypes) -> pyarrow.Table:
    """All rows that are left, as a table."""
    arrow = require_pyarrow()
    columns = _columns(cursor, schema)
    pieces: list[list[pyarrow.Array]] = [[] for _ in columns]
    row_count = 0
    for rows in _batches_of_rows(cursor, ROWS_PER_BATCH):
        for column, values, arrays in zip(columns, zip(*rows, strict=True), pieces, strict=True):
            arrays.append(column.array(values, row_count + 1))
        row_count += len(rows)
    arrays = [column.unified(piece) for column, piece in zip(columns, pieces, strict=True)]
    return arrow.Table.from_arrays(arrays, names=[column.name for column in columns])


def fetch_batches(
    cursor: Cursor, rows_per_batch: int, schema: ArrowTypes
) -> pyarrow.RecordBatchReader:
    """The rows that are left, as batches that are fetched when they are asked for.

    A reader has its schema before its first batch. The type of a column without a declared one is
    that of the values in the first batch; where all of them are NULL it reads on, a few batches.
    """
    arrow = require_pyarrow()
    if rows_per_batch < 1:
        raise ProgrammingError(f"rows_per_batch is {rows_per_batch}; it must be at least 1")
    columns = _columns(cursor, schema)
    rows = _batches_of_rows(cursor, rows_per_batch)
    ahead = _read_until_decided(columns, rows)
    arrow_schema = arrow.schema([arrow.field(column.name, column.type) for column in columns])

    def batches() -> Iterator[pyarrow.RecordBatch]:
        row_count = 0
        while batch := ahead.pop(0) if ahead else next(rows, None):
            arrays = [
                column.array(values, row_count + 1)
                for column, values in zip(columns, zip(*batch, strict=True), strict=True)
            ]
            row_count += len(batch)
            yield arrow.RecordBatch.from_arrays(arrays, schema=arrow_schema)

    return arrow.RecordBatchReader.from_batches(arrow_schema, batches())


def _columns(cursor: Cursor, schema: ArrowTypes) -> list[Column]:
    described = execution.described(cursor)
    if described is None:
        raise ProgrammingError(
            "the last statement gave no result", hint="execute a SELECT before fetching"
        )
    names = [column[0] for column in described.description]
    declared = [declared_arrow_type(declared_type) for _name, declared_type in described.columns]
    return [
        Column(name, asked or type_)
        for name, asked, type_ in zip(names, asked_types(names, schema), declared, strict=True)
    ]


def _batches_of_rows(cursor: Cursor, size: int) -> Iterator[list[tuple[Any, ...]]]:
    lock = cursor._connection._lock
    while True:
        with lock:
            rows = execution.fetch_raw(cursor, size)
        if rows:
            yield rows
        if len(rows) < size:
            return


def _read_until_decided(
    columns: list[Column], rows: Iterator[list[tuple[Any, ...]]]
) -> list[list[tuple[Any, ...]]]:
    """Decide the type of every column; returns the batches that were read for it."""
    arrow = require_pyarrow()
    ahead: list[list[tuple[Any, ...]]] = []
    seen: dict[int, pyarrow.DataType] = {
        index: arrow.null() for index, column in enumerate(columns) if column.is_inferred
    }
    row_count = 0
    while not ahead or (arrow.null() in seen.values() and len(ahead) < _UNDECIDED_BATCHES_MAX):
        batch = next(rows, None)
        if batch is None:
            break
        ahead.append(batch)
        for index, type_ in seen.items():
            if type_ == arrow.null():
                values = [row[index] for row in batch]
                seen[index] = columns[index].array(values, row_count + 1).type
        row_count += len(batch)
    for index, type_ in seen.items():
        columns[index].decide({type_})
    return ahead


# -- into the database -----------------------------------------------------------------------------


def insert(connection: Connection, table: str, data: Any) -> int:
    """Insert Arrow data into the columns of those names; how many rows were inserted.

    `data` is a table, a batch, a reader or any object with `__arrow_c_stream__`.
    """
    arrow = require_pyarrow()
    reader = _reader(arrow, data)
    makers = [_storable(arrow, field) for field in reader.schema]
    names = ", ".join(_quoted(name) for name in reader.schema.names)
    marks = ", ".join("?" * len(reader.schema.names))
    if not makers:
        raise ProgrammingError("the Arrow data has no columns")
    sql = f"INSERT INTO {_quoted(table)} ({names}) VALUES ({marks})"
    cursor = connection.cursor()
    begins_by_itself = connection._begin_sql is not None or not connection._in_autocommit()
    try:
        with nullcontext() if begins_by_itself else connection.transaction():
            cursor.executemany(sql, _rows(reader, makers))
        return cursor.rowcount
    except OverflowError as error:
        raise DataError(
            f"{error}; SQLite's integers have 64 bits and a sign",
            hint="cast the column to text or to float64 first",
        ) from error
    finally:
        cursor.close()


def _reader(arrow: Any, data: Any) -> pyarrow.RecordBatchReader:
    if isinstance(data, arrow.RecordBatchReader):
        return data
    if isinstance(data, arrow.RecordBatch):
        data = arrow.Table.from_batches([data])
    if isinstance(data, arrow.Table):
        return data.to_reader()
    if hasattr(data, "__arrow_c_stream__"):
        return arrow.RecordBatchReader.from_stream(data)
    raise UnsupportedParameterError(
        f"insert_arrow() takes Arrow data, not {type(data).__name__}",
        hint="a pyarrow Table, RecordBatch or RecordBatchReader, or a data frame with "
        "__arrow_c_stream__",
    )


Maker = Callable[[Any], Any] | None


def _storable(arrow: Any, field: pyarrow.Field) -> tuple[Maker, pyarrow.DataType | None]:
    """What makes of a value of the field what SQLite stores, and the type to cast it to before.

    Errors: UnsupportedParameterError for a type SQLite has nothing for.
    """
    types = arrow.types
    type_ = field.type
    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_timestamp(type_):
        # Python's datetimes have no nanoseconds; a cast that would lose some is an error.
        return _datetime_text, arrow.timestamp("us", tz=type_.tz) if type_.unit == "ns" else None
    if types.is_date(type_):
        return datetime.date.isoformat, arrow.date32()
    if types.is_time(type_):
        return datetime.time.isoformat, arrow.time64("us") if type_ == arrow.time64("ns") else None
    if types.is_decimal(type_):
        return decimal.Decimal.__str__, None
    if types.is_nested(type_) or types.is_duration(type_) or types.is_interval(type_):
        raise UnsupportedParameterError(
            f"column {field.name!r} has the Arrow type {field.type}, which SQLite cannot store",
            hint="make text or numbers of it first",
        )
    return None, None


def _datetime_text(value: datetime.datetime) -> str:
    return value.isoformat(" ")


def _rows(
    reader: pyarrow.RecordBatchReader, makers: list[tuple[Maker, pyarrow.DataType | None]]
) -> Iterator[tuple[Any, ...]]:
    arrow = require_pyarrow()
    for batch in reader:
        values = []
        for array, name, (make, cast_to) in zip(
            batch.columns, batch.schema.names, makers, strict=True
        ):
            try:
                column = (array if cast_to is None else array.cast(cast_to)).to_pylist()
            except arrow.ArrowException as error:
                raise DataError(f"column {name!r}: {error}") from error
            if make is not None:
                column = [None if value is None else make(value) for value in column]
            values.append(column)
        yield from zip(*values, strict=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
