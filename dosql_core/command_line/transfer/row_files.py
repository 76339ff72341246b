"""Files of rows, being read: what each kind promises, and JSON and Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from dosql_core.command_line.reporting import CommandFailedError, MissingExtraError
from dosql_core.command_line.transfer.delimited_file import DelimitedFile
from dosql_core.command_line.transfer.file_source import BadRowError, FileSource


class RowFile(Protocol):
    """Rows of a file, read once from beginning to end.

    `line_number` is that of the row last given. `rows` gives lists as long as `columns`, or
    raises BadRowError.
    """

    columns: list[str]
    line_number: int

    def rows(self) -> Iterator[list[Any]]: ...

    def bytes_read(self) -> int: ...

    def close(self) -> None: ...


def open_rows(
    path: str,
    file_format: str,
    *,
    delimiter: str | None = None,
    has_header: bool = True,
    null_text: str | None = None,
    encoding: str = "utf-8-sig",
    lines_skipped: int = 0,
) -> RowFile:
    """Begin to read a file of rows.

    Errors: CommandFailedError when it cannot be opened; BadRowError when its first line is wrong.
    """
    if file_format == "parquet":
        return ParquetFile(path)
    source = FileSource(path)
    try:
        if file_format == "jsonl":
            return JsonLinesFile(source, encoding)
        if file_format == "json":
            return JsonFile(source, encoding)
        return DelimitedFile(
            source,
            delimiter or ("\t" if file_format == "tsv" else None),
            has_header=has_header,
            null_text=null_text,
            encoding=encoding,
            lines_skipped=lines_skipped,
        )
    except BaseException:
        source.close()
        raise


class JsonLinesFile:
    """One JSON object a line; the columns are those of the first lines, in order of appearance."""

    LINES_LOOKED_AT = 1_000

    def __init__(self, source: FileSource, encoding: str) -> None:
        self._source = source
        self._text = io.TextIOWrapper(source.stream, encoding=encoding)
        self.line_number = 0
        self._first: list[tuple[int, dict[str, Any]]] = []
        objects = self._objects()
        for found in objects:
            self._first.append((self.line_number, found))
            if len(self._first) >= self.LINES_LOOKED_AT:
                break
        self._others = objects
        if not self._first:
            raise CommandFailedError(f"{source.name} is empty")
        self.columns = list(dict.fromkeys(key for _, found in self._first for key in found))

    def rows(self) -> Iterator[list[Any]]:
        columns = self.columns
        known = frozenset(columns)
        for line_number, found in self._first:
            self.line_number = line_number
            yield [found.get(name) for name in columns]
        for found in self._others:
            if not found.keys() <= known:
                name = next(key for key in found if key not in known)
                raise BadRowError(self.line_number, f"found a new key {name!r}, after {columns}")
            yield [found.get(name) for name in columns]

    def bytes_read(self) -> int:
        return self._source.bytes_read()

    def close(self) -> None:
        self._source.close()

    def _objects(self) -> Iterator[dict[str, Any]]:
        for line_number, line in enumerate(self._text, start=1):
            self.line_number = line_number
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except json.JSONDecodeError as cause:
                raise BadRowError(
                    line_number, f"not JSON: {cause.msg} at column {cause.colno}"
                ) from cause
            if not isinstance(found, dict):
                raise BadRowError(
                    line_number, f"found a JSON {_json_kind(found)}, expected an object"
                )
            yield found


class JsonFile:
    """One JSON array of objects, read whole; `line_number` counts its elements."""

    def __init__(self, source: FileSource, encoding: str) -> None:
        self._source = source
        self.line_number = 0
        try:
            found = json.loads(source.stream.read().decode(encoding))
        except json.JSONDecodeError as cause:
            raise BadRowError(cause.lineno, f"not JSON: {cause.msg}") from cause
        self._objects = found if isinstance(found, list) else [found]
        for position, value in enumerate(self._objects, start=1):
            if not isinstance(value, dict):
                raise CommandFailedError(
                    f"element {position} is a JSON {_json_kind(value)}, expected an object"
                )
        if not self._objects:
            raise CommandFailedError(f"{source.name} is empty")
        self.columns = list(dict.fromkeys(key for value in self._objects for key in value))

    def rows(self) -> Iterator[list[Any]]:
        for position, value in enumerate(self._objects, start=1):
            self.line_number = position
            yield [value.get(name) for name in self.columns]

    def bytes_read(self) -> int:
        return self._source.bytes_read()

    def close(self) -> None:
        self._source.close()


class ParquetFile:
    """A Parquet file; `line_number` counts its rows."""

    def __init__(self, path: str) -> None:
        try:
            import pyarrow.parquet
        except ImportError:
            raise MissingExtraError("reading Parquet", "columnar") from None
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (OSError, pyarrow.ArrowInvalid) as cause:
            raise CommandFailedError(f"cannot read {path}: {cause}") from cause
        self._size_bytes = Path(path).stat().st_size
        self.columns = list(self._file.schema_arrow.names)
        self.line_number = 0

    def rows(self) -> Iterator[list[Any]]:
        for batch in self._file.iter_batches(batch_size=10_000):
            columns = [column.to_pylist() for column in batch.columns]
            for row in zip(*columns, strict=True):
                self.line_number += 1
                yield [_plain(value) for value in row]

    def bytes_read(self) -> int:
        rows = self._file.metadata.num_rows
        return self._size_bytes * self.line_number // rows if rows else self._size_bytes

    def close(self) -> None:
        self._file.close()


def _json_kind(value: Any) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", type(None): "null", dict: "object"}
    return kinds.get(type(value), "number")


def _plain(value: Any) -> Any:
    """The value as SQLite stores it: times as ISO 8601, decimals as text, the nested as JSON."""
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    isoformat = getattr(value, "isoformat", None)
    if isoformat is None:
        return str(value)
    return isoformat(" ") if hasattr(value, "hour") and hasattr(value, "year") else isoformat()
