"""The rows of an initial copy on their way into the tables: a file of messages, Arrow batches."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType

import pyarrow as pa

from dolake.changes import ROWID_KEY, SqlValue, TableSchema
from dolake.errors import DamagedEventLogError, LakeBufferFullError, MalformedMessageError
from dolake.ingest.durable_file import sync_directory
from dolake.ingest.messages import CopyBegin, CopyRows, Form
from dolake.ingest.schema_messages import table_schema
from dolake.ingest.wire_format import decode_message
from dolake.tables.row_tables import STORED_TEXT

_FRAME = struct.Struct("<IB")


class _StoredText(bytes):
    """The bytes of text, told from a blob."""


_ARROW_TYPES: dict[type, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    _StoredText: pa.binary(),
}


class CopySpool:
    """Messages of one copy, in the order they came: copy_begin, then copy_rows by table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")

    def add(self, raw: bytes, form: Form) -> None:
        """Keep a message as it came. Errors: LakeBufferFullError on a full disk."""
        try:
            self._file.write(_FRAME.pack(len(raw), form) + raw)
        except OSError as error:
            raise LakeBufferFullError(f"the copy of the tables: {error.strerror}") from error

    def finish(self) -> None:
        """Make what was added survive a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sync_directory(self.path.parent)

    def discard(self) -> None:
        """Forget the copy."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class SpooledCopy:
    """A finished copy.

    Errors: DamagedEventLogError when the file is not what `finish` left.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            begin = _next_message(file.read, path)
        if not isinstance(begin, CopyBegin):
            raise DamagedEventLogError(f"{path} does not begin with copy_begin")
        self._begin = begin

    @property
    def keeps_others(self) -> bool:
        """Whether the tables that are not in it stay as they are."""
        return self._begin.keeps_others

    @property
    def committed_at(self) -> int | None:
        """The time of the commit it is as of."""
        return self._begin.committed_at

    def tables(self) -> Iterator[tuple[TableSchema, Iterable[pa.RecordBatch]]]:
        """The tables, each with its rows as batches."""
        for described in self._begin.tables:
            schema = table_schema(described)
            yield schema, _batches_of(self._path, schema)


def _batches_of(path: Path, schema: TableSchema) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        while (message := _next_message(file.read, path)) is not None:
            if isinstance(message, CopyRows) and message.table == schema.table and message.rows:
                yield record_batch(schema, message.rows)


def _next_message(read, path: Path):  # type: ignore[no-untyped-def]
    header = read(_FRAME.size)
    if not header:
        return None
    if len(header) == _FRAME.size:
        size, form = _FRAME.unpack(header)
        raw = read(size)
        if len(raw) == size:
            return decode_message(raw, Form(form))
    raise DamagedEventLogError(f"{path} is cut short")


def column_names(schema: TableSchema) -> tuple[str, ...]:
    """The columns of a copied row: the table's, after the rowid where that is its key."""
    names = tuple(column.name for column in schema.columns)
    return names if schema.key_columns != (ROWID_KEY,) else (ROWID_KEY, *names)


def record_batch(schema: TableSchema, rows: Sequence[Sequence[SqlValue]]) -> pa.RecordBatch:
    """Rows as Arrow; a column that mixes types, or has text that is no Unicode, is a dense union.

    Shape:  in a table with a primary key all rows may have their rowid in front, for those of which
            the key is NULL.
    Errors: MalformedMessageError when a row has another number of values than the table columns.
    """
    names = column_names(schema)
    if rows and len(rows[0]) == len(names) + 1 and ROWID_KEY not in names:
        names = (ROWID_KEY, *names)
    if any(len(row) != len(names) for row in rows):
        raise MalformedMessageError(
            f"a row of {schema.table!r} has another number of values than its {len(names)} columns"
        )
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays([_array(column) for column in columns], names=list(names))


def _array(values: Sequence[SqlValue]) -> pa.Array:
    types = set(map(type, values)) - {NoneType}
    if not types:
        return pa.nulls(len(values))
    try:
        if len(types) == 1:
            return pa.array(values, _ARROW_TYPES[next(iter(types))])
        return _union(values, types)
    except UnicodeEncodeError:
        return _union_of_any_text(values)


def _union_of_any_text(values: Sequence[SqlValue]) -> pa.Array:
    """Values some of which are text that is no Unicode: of all text the bytes, as STORED_TEXT."""
    stored = [
        _StoredText(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else value
        for value in values
    ]
    return _union(stored, set(map(type, stored)) - {NoneType})


def _union(values: Sequence[SqlValue], types: set[type]) -> pa.Array:
    # Which child holds a value, and where in it; NULL is in the first.
    kinds = sorted(types, key=lambda kind: kind.__name__)
    children: list[list[SqlValue]] = [[] for _ in kinds]
    places: list[int] = []
    offsets: list[int] = []
    for value in values:
        place = 0 if value is None else kinds.index(type(value))
        places.append(place)
        offsets.append(len(children[place]))
        children[place].append(value)
    return pa.UnionArray.from_dense(
        pa.array(places, pa.int8()),
        pa.array(offsets, pa.int32()),
        [pa.array(child, _ARROW_TYPES[kind]) for child, kind in zip(children, kinds, strict=True)],
        [STORED_TEXT if kind is _StoredText else kind.__name__ for kind in kinds],
    )
