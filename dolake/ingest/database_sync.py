"""A database of this machine into a lake, without a server between: copy once, then follow.

The slot of the database is the log: nothing is acknowledged to it before it is in a snapshot.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pyarrow as pa

from dolake.changes import Batch, SqlValue, TableSchema
from dolake.ingest.copy_spool import record_batch
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.flush_policy import Gathered, reason_to_flush
from dolake.ingest.lake_tables import LakeTables, OpenTables, SourceKey
from dolake.ingest.read_ahead import ReadAhead
from dolake.settings import IngestSettings

_T = TypeVar("_T")

_LONGEST_WAIT_SECONDS = 0.25
_ATTEMPTS_ONCE = 8


class SyncReport(Protocol):
    """Told what a sync does, as often as it does something."""

    def copied(self, table: str, rows: int, rows_all: int) -> None:
        """So many rows of a table, of so many, are copied."""

    def committed(self, lsn: int, rows: int) -> None:
        """A snapshot holds everything up to an LSN."""

    def failed(self, error: Exception, retry_seconds: float) -> None:
        """A flush failed and is tried again after so long."""


@dataclass(slots=True)
class SyncResult:
    """What a sync did."""

    copied_rows: int = 0
    copied_tables: int = 0
    changes: int = 0
    snapshots: int = 0
    lsn: int = 0


class DatabaseSync:
    """Syncs one source into its tables. Used by one thread; `stop` may come from any."""

    def __init__(
        self,
        source: DatabaseSource,
        open_tables: OpenTables,
        settings: IngestSettings,
        report: SyncReport,
    ) -> None:
        self._source = source
        self._key = SourceKey(source.name, source.branch)
        self._open_tables = open_tables
        self._settings = settings
        self._report = report
        self._stopping = threading.Event()
        self.result = SyncResult()

    def stop(self) -> None:
        """Have `run` flush and return."""
        self._stopping.set()

    def run(self, *, follow: bool, copy: bool = False) -> SyncResult:
        """Bring the lake up to the present; with `follow`, keep it there until `stop`.

        Errors: ChangesNotKeptError when the database no longer has what the lake lacks; whatever
                the tables say of changes they cannot take.
        """
        tables = self._open_tables(self._key)
        if copy or tables.watermark == 0:
            self._copy(tables)
        else:
            self._source.check_commit(tables.last_commit)
        after = tables.watermark or self._source.slot_lsn
        self.result.lsn = after
        batches = self._source.batches(after, follow=follow)
        ahead = ReadAhead(batches, self._source.end_waits)
        try:
            self._follow(tables, ahead, is_following=follow)
        finally:
            ahead.close()
        return self.result

    def _copy(self, tables: LakeTables) -> None:
        lsn = self._source.slot_lsn
        self._until_it_succeeds(
            lambda: tables.initial_copy(
                lsn,
                self._copied(lsn),
                keeps_others=self._source.is_partial,
                committed_at=self._source.commit_time(lsn),
            ),
            False,
        )
        self.result.snapshots += 1
        self.result.lsn = lsn
        self._report.committed(lsn, self.result.copied_rows)

    def _copied(self, lsn: int) -> Iterator[tuple[TableSchema, Iterable[pa.RecordBatch]]]:
        self.result.copied_rows = self.result.copied_tables = 0
        for table, rows in self._source.copy(lsn):
            self.result.copied_tables += 1
            self._report.copied(table.schema.table, 0, table.row_count)
            yield table.schema, self._batches_of(table.schema, rows, table.row_count)

    def _batches_of(
        self, schema: TableSchema, rows: Iterator[list[tuple[SqlValue, ...]]], rows_all: int
    ) -> Iterator[pa.RecordBatch]:
        copied = 0
        for some in rows:
            copied += len(some)
            self.result.copied_rows += len(some)
            yield record_batch(schema, some)
            self._report.copied(schema.table, copied, rows_all)

    def _follow(self, tables: LakeTables, ahead: ReadAhead, *, is_following: bool) -> None:
        staged_since: float | None = None
        staged_lsn = self.result.lsn
        while True:
            wait = _LONGEST_WAIT_SECONDS
            if staged_since is not None:
                due = staged_since + self._settings.flush.age_seconds_max
                wait = min(max(due - time.monotonic(), 0.0), wait)
            batch = None if self._stopping.is_set() else ahead.take(wait)
            if batch is not None:
                self._stage(tables, batch)
                staged_lsn = batch.last_lsn
                if staged_since is None:
                    staged_since = time.monotonic()
            is_ending = self._stopping.is_set() or ahead.is_at_end
            if staged_since is not None and reason_to_flush(
                self._settings.flush,
                Gathered(
                    tables.staged_rows,
                    tables.staged_bytes,
                    time.monotonic() - staged_since,
                    is_closing=is_ending,
                ),
            ):
                self._flush(tables, staged_lsn, is_following=is_following)
                staged_since = None
            if is_ending:
                return

    def _stage(self, tables: LakeTables, batch: Batch) -> None:
        tables.stage(batch)
        self.result.changes += len(batch.changes)

    def _flush(self, tables: LakeTables, lsn: int, *, is_following: bool) -> None:
        rows = tables.staged_rows
        flushed = self._until_it_succeeds(tables.flush, is_following)
        self.result.lsn = lsn
        if not flushed.tables:
            return  # no snapshot holds the LSN: the slot keeps the commits, which changed nothing
        self.result.snapshots += 1
        self._source.acknowledge(lsn)
        self._report.committed(lsn, rows)

    def _until_it_succeeds(self, work: Callable[[], _T], is_following: bool) -> _T:
        """Try again while the store is away, until `stop` comes."""
        failures = 0
        while True:
            try:
                return work()
            except Exception as error:
                failures += 1
                gives_up = failures >= _ATTEMPTS_ONCE and not is_following
                if gives_up or not getattr(error, "is_retryable", False):
                    raise
                pause = self._settings.retry.pause_seconds(failures)
                self._report.failed(error, pause)
                if self._stopping.wait(pause):
                    raise
