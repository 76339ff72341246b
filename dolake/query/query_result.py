"""The answer to a query: what it read, its rows as they come, within limits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.json_fields import Json
from dolake.errors import LakeQueryError, LakeQueryTimeoutError
from dolake.query.scan_plan import TablePlan


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query may take. Shape: `rows_max` 0 means any number of rows."""

    rows_max: int = 0
    seconds_max: float = 60.0
    memory_bytes_max: int = 1 << 30
    threads_max: int = 2


@dataclass(frozen=True, slots=True)
class TableRead:
    """What a query reads of one table. Shape: `lsn` is the source's, None for foreign tables."""

    identifier: TableIdentifier
    snapshot_id: int | None
    lsn: int | None
    plan: TablePlan
    pending_rows: int = 0
    pending_keys: int = 0

    def told(self) -> Json:
        """The same as plain values, file by file."""
        read = self.plan.files_read
        return {
            "table": list(self.identifier),
            "snapshot-id": self.snapshot_id,
            "lsn": self.lsn,
            "files": len(self.plan.files),
            "files-read": len(read),
            "bytes": sum(planned.file.file_bytes for planned in self.plan.files),
            "bytes-read": sum(planned.file.file_bytes for planned in read),
            "left-out-by-partition": self._left_out("partition"),
            "left-out-by-statistics": self._left_out("statistics"),
            "deleted-rows": sum(planned.deleted_rows for planned in read),
            "pending-rows": self.pending_rows,
            "read": [planned.file.file_path for planned in read],
        }

    def _left_out(self, reason: str) -> int:
        return sum(planned.left_out_by == reason for planned in self.plan.files)


@dataclass(slots=True)
class QueryResult:
    """The rows of a query as they come. Close it, or use it as a context manager.

    Shape: `is_cut` is true once more rows than allowed were there; it is known at the end.
    Errors: LakeQueryTimeoutError, LakeQueryError, while rows are taken.
    """

    schema: pa.Schema
    tables: tuple[TableRead, ...]
    batches: Iterator[pa.RecordBatch]
    is_cut: bool = False
    _close: Callable[[], None] = field(default=lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what the query holds."""
        self._close()

    def table(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(list(self.batches), self.schema)


def limited_batches(
    reader: pa.RecordBatchReader, limits: QueryLimits, result: QueryResult
) -> Iterator[pa.RecordBatch]:
    left = limits.rows_max
    with translated_errors(limits):
        for batch in reader:
            if not limits.rows_max:
                yield batch
                continue
            if batch.num_rows > left:
                result.is_cut = True
                if left:
                    yield batch.slice(0, left)
                return
            left -= batch.num_rows
            yield batch


@contextlib.contextmanager
def translated_errors(limits: QueryLimits) -> Iterator[None]:
    """DuckDB's errors as ours."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in str(error):
            raise LakeQueryTimeoutError(
                f"the query took more than {limits.seconds_max} seconds"
            ) from error
        raise LakeQueryError(message_of(error)) from error


def message_of(error: Exception) -> str:
    """What DuckDB says, without the text of the query: that is not quite what was sent."""
    return str(error).partition("\n\nLINE ")[0]
