"""One source's way into the lake: what it sends is checked, logged, and handed to its writer.

`accepted_lsn >= writer.staged_lsn >= committed_lsn` at any time. What lies between accepted and
committed is in the event log, so a crash, or tables that had to be opened anew, begin again at
committed.
"""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dolake.changes import Change, SourceCommit
from dolake.errors import (
    LakeBufferFullError,
    SequenceError,
    ShuttingDownError,
    SourceHaltedError,
)
from dolake.ingest.copy_spool import CopySpool
from dolake.ingest.deduplication import is_new
from dolake.ingest.event_log import LogPosition, LogRecord
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.log_records import (
    batch_record,
    copied_file,
    copy_record,
    is_first_part,
    is_last_part,
)
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.shared_ingest import SharedIngest
from dolake.ingest.source_writer import AcceptedCommits, SourceWriter
from dolake.settings import Tier

Status = Literal["ok", "persisted", "buffered", "fallback", "duplicate"]

# Decoded changes take about so many times the room of their message.
_DECODED_PER_BYTE = {Form.JSON: 3, Form.MSGPACK: 10}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch: its status once `durable` is done."""

    status: Status
    lsn: int
    durable: Future[None] | None


class SourcePipeline:
    """One branch of one source. Safe for any number of threads; `writer` has one of its own."""

    def __init__(self, key: SourceKey, shared: SharedIngest) -> None:
        self.key = key
        self._log = shared.log
        self._budget = shared.budget
        self._metrics = shared.metrics
        self._spool_directory = shared.spool_directory
        self._cond = threading.Condition(threading.RLock())
        self.writer = SourceWriter(key, shared, self._cond)
        self.accepted_lsn = self.writer.committed_lsn
        self.last_commit = self.writer.tables.last_commit  # that we know of
        self._parts: list[tuple[LogPosition | None, BatchMessage, int]] = []
        self._copy: tuple[int, CopySpool] | None = None

    @property
    def tier(self) -> Tier:
        """How hard the lake holds on to what this source sends."""
        return self.writer.tier

    @property
    def committed_lsn(self) -> int:
        """Up to where everything is in a snapshot."""
        return self.writer.committed_lsn

    @property
    def needs_copy(self) -> bool:
        """Whether the lake has nothing of this source yet."""
        return self.accepted_lsn == 0

    # -- accepting ---------------------------------------------------------------------------------

    def accept(self, message: BatchMessage, raw: bytes, form: Form) -> Accepted:
        """Take in a batch whose form was checked; commits that are there already are left out.

        Errors: SequenceError for a gap; LakeBufferFullError, ShuttingDownError, SourceHaltedError.
        """
        with self._cond:
            self._refuse_if_closed()
            if not is_new(message.after_lsn, message.last_lsn, self._next_after(message)):
                self._metrics.acks.labels("duplicate").inc()
                durable = self._log.synced() if self.accepted_lsn > self.committed_lsn else None
                return Accepted("duplicate", self.accepted_lsn, durable)
            self._check_part(message)
            held = len(raw) * _DECODED_PER_BYTE[form]
            position = self._keep(message, raw, form, held)
            if message.part == 0:
                self._parts.clear()
            self._parts.append((position, message, held))
            if not message.more:
                self._finish_batch(message)
                if message.changes:
                    last = message.changes[-1]
                    self.last_commit = SourceCommit(last.lsn, last.committed_at)
            self._metrics.changes.labels(self.key.source).inc(len(message.changes))
            self._metrics.bytes.labels(self.key.source).inc(len(raw))
        return self._accepted()

    def _next_after(self, message: BatchMessage) -> int:
        if self.tier is Tier.P3 and message.after_lsn > self.accepted_lsn:
            return message.after_lsn  # what this tier drops leaves gaps
        return self.accepted_lsn

    def _check_part(self, message: BatchMessage) -> None:
        if message.part and (
            len(self._parts) != message.part or self._parts[0][1].last_lsn != message.last_lsn
        ):
            raise SequenceError(
                f"part {message.part} of LSN {message.last_lsn} was sent, and "
                f"{len(self._parts)} parts are here",
                self.accepted_lsn,
            )

    def _keep(self, message: BatchMessage, raw: bytes, form: Form, held: int) -> LogPosition | None:
        if not self.tier.is_logged:
            if not self._budget.has_room_for(held):
                self._metrics.dropped.labels(self.key.source).inc(len(message.changes))
                raise LakeBufferFullError(
                    f"unwritten changes take {self._budget.held_bytes} of "
                    f"{self._budget.bytes_max} bytes of memory"
                )
            return None
        position = self._log.append(batch_record(self.key, message, raw, form))
        self._metrics.log_bytes.set(self._log.size_bytes)
        return position

    def _finish_batch(self, last: BatchMessage) -> None:
        parts, self._parts = self._parts, []
        held = sum(size for _, _, size in parts)
        changes: tuple[Change, ...] | None = None
        if not self.tier.is_logged or self._budget.has_room_for(held):
            if len(parts) == 1:
                changes = parts[0][1].changes
            else:
                changes = tuple(change for _, part, _ in parts for change in part.changes)
        positions = [position for position, _, _ in parts if position is not None]
        self._hand_over(
            AcceptedCommits(
                last.after_lsn, last.last_lsn, positions, changes, 0 if changes is None else held
            )
        )

    def _hand_over(self, commits: AcceptedCommits) -> None:
        self.accepted_lsn = commits.last_lsn
        self._metrics.accepted_lsn.labels(str(self.key)).set(self.accepted_lsn)
        self.writer.take(commits)

    def _accepted(self) -> Accepted:
        if not self.tier.is_durable_before_ack:
            self._metrics.acks.labels("buffered").inc()
            return Accepted("buffered", self.accepted_lsn, None)
        status: Status = "fallback" if self.writer.is_store_away else "persisted"
        self._metrics.acks.labels(status).inc()
        return Accepted(status, self.accepted_lsn, self._log.synced())

    def _refuse_if_closed(self) -> None:
        if self.writer.is_closing:
            raise ShuttingDownError("the lake is shutting down")
        halted = self.writer.halted
        if halted is not None:
            raise SourceHaltedError(
                f"LSN {halted.after_lsn + 1} to {halted.last_lsn} of {self.key} could "
                f"not be applied: {halted.error}"
            )

    # -- the initial copy --------------------------------------------------------------------------

    def begin_copy(self, lsn: int, raw: bytes, form: Form) -> None:
        """Gather a copy as of an LSN; it replaces what is there when it is whole.

        Errors: SequenceError for a copy older than what is accepted.
        """
        with self._cond:
            self._refuse_if_closed()
            if lsn < self.accepted_lsn:
                raise SequenceError(
                    f"a copy as of LSN {lsn} is older than LSN {self.accepted_lsn}, which the lake "
                    "has",
                    self.accepted_lsn,
                )
            self.abandon_copy()
            name = f"{uuid.uuid4().hex}.copy"
            self._copy = (lsn, CopySpool(self._spool_directory / name))
            self._copy[1].add(raw, form)

    def add_to_copy(self, raw: bytes, form: Form) -> None:
        """Keep some rows of the copy. Errors: SequenceError without `begin_copy`."""
        self._copying()[1].add(raw, form)

    def end_copy(self) -> Accepted:
        """The copy is whole: put it into the tables."""
        with self._cond:
            lsn, spool = self._copying()
            self._copy = None
            spool.finish()
            self._log.append(copy_record(self.key, self.accepted_lsn, lsn, spool.path))
            self._parts.clear()
            self.last_commit = None
            self._hand_over(AcceptedCommits(lsn, lsn, changes=(), copy=spool.path))
            return Accepted("persisted", lsn, self._log.synced())

    def abandon_copy(self) -> None:
        """Forget a copy that did not end."""
        with self._cond:
            if self._copy is not None:
                self._copy[1].discard()
                self._copy = None

    def _copying(self) -> tuple[int, CopySpool]:
        if self._copy is None:
            raise SequenceError("no copy has begun", self.accepted_lsn)
        return self._copy

    # -- recovery ----------------------------------------------------------------------------------

    def recover(self, position: LogPosition, record: LogRecord) -> None:
        """Take a record of the log in again, before the writer starts; what is committed is passed
        over."""
        with self._cond:
            copied = copied_file(record)
            if copied is not None:
                self._recover_copy(self._spool_directory / copied, record.last_lsn)
            elif self._is_recovered(record):
                self._recover_part(position, record)

    def _recover_copy(self, file: Path, lsn: int) -> None:
        if lsn > self.committed_lsn and file.exists():
            self._parts.clear()
            self._hand_over(AcceptedCommits(lsn, lsn, changes=(), copy=file))

    def _is_recovered(self, record: LogRecord) -> bool:
        try:
            return is_new(record.after_lsn, record.last_lsn, self.accepted_lsn)
        except SequenceError:
            # What came before it was never durable; the source sends it again, unless it may not.
            return self.tier is Tier.P3

    def _recover_part(self, position: LogPosition, record: LogRecord) -> None:
        if is_first_part(record):
            self._parts.clear()
        elif not self._parts:
            return
        self._parts.append((position, BatchMessage(0, record.after_lsn, record.last_lsn), 0))
        if is_last_part(record):
            parts, self._parts = self._parts, []
            positions = [place for place, _, _ in parts if place is not None]
            self._hand_over(AcceptedCommits(record.after_lsn, record.last_lsn, positions))

    # -- the end -----------------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Refuse whatever comes from now on, and flush what is here."""
        with self._cond:
            self.abandon_copy()
            self.writer.stop()

    def close(self, *, timeout_seconds: float, flush: bool = True) -> None:
        """Flush what is here if the store lets us, and end; the log keeps what is left."""
        self.abandon_copy()
        self.writer.close(timeout_seconds=timeout_seconds, flush=flush)

    def status(self) -> dict[str, Any]:
        """Where the source stands, for people and programs."""
        with self._cond:
            return {
                "tier": self.tier.value,
                "accepted_lsn": self.accepted_lsn,
                **self.writer.status(),
            }
