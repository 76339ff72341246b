"""Rows into a file: CSV, TSV, JSON lines, JSON, Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

from dosql_core.command_line.reporting import CommandFailedError, MissingExtraError
from dosql_core.command_line.results.delimited import csv_quoted
from dosql_core.command_line.results.structured import jsonl_layout
from dosql_core.command_line.results.style import ResultStyle, Row
from dosql_core.command_line.values import json_text, real_text
from dosql_core.identifiers import SqlValue

ROWS_A_BATCH = 4_096

Checkpoint = Callable[[int], None]
"""Told now and then how many rows were written; may raise to stop."""


def write_delimited(
    stream: IO[str],
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    delimiter: str,
    has_header: bool = True,
    null_text: str = "",
    checkpoint: Checkpoint,
) -> int:
    """Write rows as CSV or its kin, in the form `dosql import` reads back unchanged.

    NULL is an empty field and the empty text a quoted one; blobs are `x'...'`. Returns the number
    of rows.
    """
    special = re.compile(f'[\\n\\r"{re.escape(delimiter)}]|^\\s|\\s$')

    def field(value: SqlValue) -> str:
        if value is None:
            return null_text
        if isinstance(value, str):
            text = value
        elif isinstance(value, bytes):
            return f"x'{value.hex()}'"
        elif isinstance(value, float):
            return real_text(value)
        else:
            return str(value)
        if not text or text == null_text or special.search(text):
            return csv_quoted(text)
        return text

    if has_header:
        stream.write(delimiter.join(map(field, columns)) + "\n")
    count = 0
    for batch in _batches(rows):
        stream.writelines(delimiter.join(map(field, row)) + "\n" for row in batch)
        count += len(batch)
        checkpoint(count)
    return count


def write_json_lines(
    stream: IO[str], columns: Sequence[str], rows: Iterable[Row], *, checkpoint: Checkpoint
) -> int:
    """Write one JSON object a line; blobs are hex. Returns the number of rows."""
    count = 0
    for batch in _batches(rows):
        stream.writelines(jsonl_layout(columns, batch, ResultStyle()))
        count += len(batch)
        checkpoint(count)
    return count


def write_json(
    stream: IO[str], columns: Sequence[str], rows: Iterable[Row], *, checkpoint: Checkpoint
) -> int:
    """Write one JSON array of objects; blobs are hex. Returns the number of rows."""
    keys = [json.dumps(name, ensure_ascii=False) for name in columns]
    count = 0
    stream.write("[")
    for batch in _batches(rows):
        for row in batch:
            members = (f"{k}: {json_text(v)}" for k, v in zip(keys, row, strict=True))
            stream.write(("," if count else "") + "\n  {" + ", ".join(members) + "}")
            count += 1
        checkpoint(count)
    stream.write("\n]\n")
    return count


def write_parquet(
    path: str, columns: Sequence[str], rows: Iterable[Row], *, checkpoint: Checkpoint
) -> int:
    """Write a Parquet file; a column's type is that of all its values. Returns the number of rows.

    Errors: MissingExtraError without pyarrow; CommandFailedError when a column holds values of
            several types.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("writing Parquet", "columnar") from None
    # The file's schema comes first, so all rows are looked at before any is written.
    all_rows = list(rows)
    kinds = [_column_kind(name, [row[i] for row in all_rows]) for i, name in enumerate(columns)]
    types: dict[type | None, Any] = {
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        str: pyarrow.string(),
        bytes: pyarrow.binary(),
        None: pyarrow.string(),
    }
    schema = pyarrow.schema(
        [pyarrow.field(name, types[kind]) for name, kind in zip(columns, kinds, strict=True)]
    )
    count = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(all_rows):
            arrays = [
                pyarrow.array([row[i] for row in batch], type=field.type)
                for i, field in enumerate(schema)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
            count += len(batch)
            checkpoint(count)
    return count


def _column_kind(name: str, values: list[SqlValue]) -> type | None:
    kinds: set[type] = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        if all(isinstance(v, float) or v is None or abs(int(v)) <= 2**53 for v in values):
            return float
    elif len(kinds) <= 1:
        return kinds.pop() if kinds else None
    kind_names = sorted(kind.__name__ for kind in kinds)
    raise CommandFailedError(
        f"column {name} holds {' and '.join(kind_names)} values, a column of Parquet only one type",
        f"export a query that casts it: cast({name} as text)",
    )


def _batches(rows: Iterable[Row]) -> Iterator[list[Any]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, ROWS_A_BATCH)):
        yield batch
