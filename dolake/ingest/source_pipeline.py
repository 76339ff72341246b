"""One source's way into the lake: accepted into the log, staged in its tables, flushed.

`accepted_lsn >= staged_lsn >= committed_lsn` at any time. What lies between accepted and committed
is in the event log, so a crash, or tables that had to be opened anew, begin again at committed.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from opentelemetry import trace

from dolake.changes import Batch, Change
from dolake.errors import (
    LakeBufferFullError,
    SequenceError,
    ShuttingDownError,
    SourceHaltedError,
)
from dolake.ingest.copy_spool import CopySpool, SpooledCopy
from dolake.ingest.dead_letters import DeadLetter, DeadLetters
from dolake.ingest.deduplication import beyond, is_new
from dolake.ingest.event_log import EventLog, LogPosition, LogRecord
from dolake.ingest.flush_policy import FlushReason, Gathered, reason_to_flush
from dolake.ingest.lake_tables import LakeTables, OpenTables, SourceKey
from dolake.ingest.memory_budget import MemoryBudget
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.metrics import IngestMetrics
from dolake.ingest.wire_format import decode_message
from dolake.settings import IngestSettings, Tier

Status = Literal["ok", "persisted", "buffered", "fallback", "duplicate"]

# `kind` of a record in the event log: the form of its payload, and what the payload is.
_FORM_BITS = 0x03
_MORE = 0x04
_CONTINUED = 0x08
_COPY = 0x10

# How far a snapshot may go beyond the rows that make it due, where more has arrived meanwhile.
_ROWS_AT_MOST = 8

_FLUSHES_REMEMBERED = 100

# Decoded changes take about so many times the room of their message.
_DECODED_PER_BYTE = {Form.JSON: 3, Form.MSGPACK: 10}

_tracer = trace.get_tracer("dolake")


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch: its status once `durable` is done."""

    status: Status
    lsn: int
    durable: Future[None] | None


@dataclass(slots=True)
class _Entry:
    """Commits that are accepted and not committed; decoded only while memory allows it."""

    after_lsn: int
    last_lsn: int
    parts: list[LogPosition]
    changes: tuple[Change, ...] | None
    held_bytes: int
    accepted_at: float
    copy: Path | None = None


class SourcePipeline:
    """One branch of one source.

    Threads: `accept` and the like may be called from any; a thread of its own stages and flushes.
    """

    def __init__(
        self,
        key: SourceKey,
        open_tables: OpenTables,
        log: EventLog,
        letters: DeadLetters,
        budget: MemoryBudget,
        metrics: IngestMetrics,
        settings: Callable[[], IngestSettings],
        spool_directory: Path,
    ) -> None:
        self.key = key
        self._open_tables = open_tables
        self._log = log
        self._letters = letters
        self._budget = budget
        self._metrics = metrics
        self._settings = settings
        self._spool_directory = spool_directory
        self.tier: Tier = settings().tier_of(key.source)
        self.tables_lock = threading.Lock()
        self.tables: LakeTables = open_tables(key)
        watermark = self.tables.watermark
        self.accepted_lsn = self.staged_lsn = self.committed_lsn = watermark
        self.halted: DeadLetter | None = None
        self.last_error: Exception | None = None
        self.failures = 0
        self.last_flush_at: float | None = None
        self._flush_seconds: deque[float] = deque(maxlen=_FLUSHES_REMEMBERED)
        self._retry_at = 0.0
        self._cond = threading.Condition(threading.RLock())
        self._waiting: deque[_Entry] = deque()  # accepted, not staged
        self._staged: deque[_Entry] = deque()  # staged, not committed
        self._parts: list[tuple[LogPosition | None, BatchMessage, int]] = []
        self._copy: tuple[int, CopySpool] | None = None
        self._flush_requests: list[tuple[int, Future[int]]] = []
        self._is_closing = False
        self._is_ended = False
        self._must_reopen = False
        self._staged_bytes = 0
        self._on_commit: list[Callable[[int], None]] = []
        self._thread = threading.Thread(target=self._work, name=f"lake {key}", daemon=True)
        self._note_lsns()

    def start(self) -> None:
        """Begin to stage and flush, once `recover` was told everything."""
        self._thread.start()

    # -- accepting ---------------------------------------------------------------------------------

    @property
    def needs_copy(self) -> bool:
        """Whether the lake has nothing of this source yet."""
        return self.accepted_lsn == 0

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
        kind = form | (_MORE if message.more else 0) | (_CONTINUED if message.part else 0)
        record = LogRecord(str(self.key), kind, message.after_lsn, message.last_lsn, raw)
        position = self._log.append(record)
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
        entry = _Entry(
            last.after_lsn,
            last.last_lsn,
            [position for position, _, _ in parts if position is not None],
            changes,
            held if changes is not None else 0,
            time.monotonic(),
        )
        self._enqueue(entry)

    def _enqueue(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        self.accepted_lsn = entry.last_lsn
        self._metrics.accepted_lsn.labels(str(self.key)).set(self.accepted_lsn)
        self._note_memory()
        self._cond.notify_all()

    def _accepted(self) -> Accepted:
        if not self.tier.is_durable_before_ack:
            self._metrics.acks.labels("buffered").inc()
            return Accepted("buffered", self.accepted_lsn, None)
        status: Status = "fallback" if self.is_store_away else "persisted"
        self._metrics.acks.labels(status).inc()
        return Accepted(status, self.accepted_lsn, self._log.synced())

    @property
    def is_store_away(self) -> bool:
        """Whether the last flush failed, so that changes pile up here."""
        return self.failures > 0

    def _refuse_if_closed(self) -> None:
        if self._is_closing:
            raise ShuttingDownError("the lake is shutting down")
        if self.halted is not None:
            raise SourceHaltedError(
                f"LSN {self.halted.after_lsn + 1} to {self.halted.last_lsn} of {self.key} could "
                f"not be applied: {self.halted.error}"
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
            record = LogRecord(
                str(self.key), _COPY, self.accepted_lsn, lsn, spool.path.name.encode()
            )
            self._log.append(record)
            self._parts.clear()
            self._enqueue(_Entry(lsn, lsn, [], (), 0, time.monotonic(), copy=spool.path))
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
        """Take a record of the log in again, before `start`; what is committed is passed over."""
        with self._cond:
            self._recover(position, record)

    def _recover(self, position: LogPosition, record: LogRecord) -> None:
        if record.kind & _COPY:
            path = self._spool_directory / record.payload.decode()
            if record.last_lsn > self.committed_lsn and path.exists():
                self._parts.clear()
                self._enqueue(
                    _Entry(record.last_lsn, record.last_lsn, [], (), 0, time.monotonic(), copy=path)
                )
            return
        try:
            if not is_new(record.after_lsn, record.last_lsn, self.accepted_lsn):
                return
        except SequenceError:
            if self.tier is not Tier.P3:
                return  # what came before it was never durable; the source sends it again
        if not record.kind & _CONTINUED:
            self._parts.clear()
        elif not self._parts:
            return
        part = BatchMessage(0, record.after_lsn, record.last_lsn)
        self._parts.append((position, part, 0))
        if not record.kind & _MORE:
            parts, self._parts = self._parts, []
            positions = [place for place, _, _ in parts if place is not None]
            self._enqueue(
                _Entry(record.after_lsn, record.last_lsn, positions, None, 0, time.monotonic())
            )

    def spooled_copies(self) -> set[Path]:
        """The files of copies that wait for being put into the tables."""
        return {entry.copy for entry in self._waiting if entry.copy is not None}

    # -- staging and flushing ----------------------------------------------------------------------

    def request_flush(self) -> Future[int]:
        """A future of the LSN committed, once everything accepted so far is in a snapshot."""
        wanted: Future[int] = Future()
        with self._cond:
            if not self._uncommitted() or self.halted is not None:
                wanted.set_result(self.committed_lsn)
            else:
                self._flush_requests.append((self.accepted_lsn, wanted))
                self._retry_at = 0.0
                self._cond.notify_all()
        return wanted

    def on_commit(self, call: Callable[[int], None]) -> Callable[[], None]:
        """Have `call` told each LSN that is in a snapshot; returns what ends it."""
        self._on_commit.append(call)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._on_commit.remove(call)

        return end

    def resume(self, *, drop: bool) -> None:
        """Go on after a halt: try the batch again, or with `drop` leave it out."""
        with self._cond:
            if self.halted is not None:
                if drop:
                    self._letters.drop(self.halted)
                self.halted = None
                self._cond.notify_all()

    def wake(self) -> None:
        """Look again at what is due: the settings have changed."""
        with self._cond:
            self._cond.notify_all()

    def stop_accepting(self) -> None:
        """Refuse whatever comes from now on, and flush what is here."""
        with self._cond:
            self._is_closing = True
            self.abandon_copy()
            self._retry_at = 0.0
            self._cond.notify_all()

    def close(self, *, timeout_seconds: float, flush: bool = True) -> None:
        """Flush what is staged if the store lets us, and end; the log keeps what is left."""
        self._is_ended = not flush
        self.stop_accepting()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._budget.forget(self.key)
        for _, wanted in self._flush_requests:
            wanted.cancel()

    def _work(self) -> None:
        while True:
            with self._cond:
                while not (step := self._next_step()):
                    if self._is_closing and (
                        self._is_ended
                        or not self._uncommitted()
                        or self.halted is not None
                        or self.failures
                    ):
                        return
                    self._cond.wait(self._pause())
            step()

    def _next_step(self) -> Callable[[], None] | None:
        """What to do now: open the tables anew, flush, stage the next batch, or nothing yet."""
        if self._is_ended:
            return None
        if self.failures and time.monotonic() < self._retry_at:
            # While flushes fail, memory holds what it may and the log the rest.
            may_stage = not self._must_reopen and self._staged and self._budget.has_room_for(0)
            return self._stage_next if may_stage and self._can_stage() else None
        if self._must_reopen:
            return self._reopen
        reason = self._due()
        if self._can_stage() and (reason is None or self._is_better_staged_first(reason)):
            return self._stage_next
        return None if reason is None else partial(self._flush, reason)

    def _uncommitted(self) -> bool:
        return bool(self._waiting or self._staged)

    def _can_stage(self) -> bool:
        if not self._waiting or self.halted is not None:
            return False
        return not (self._staged and self._waiting[0].copy is not None)

    def _is_better_staged_first(self, reason: FlushReason) -> bool:
        """Whether what waits belongs into the same snapshot: fewer, larger ones keep up."""
        if reason is FlushReason.REQUEST and self._flush_requests:
            return self.staged_lsn < self._flush_requests[0][0]
        if reason in (FlushReason.ROWS, FlushReason.AGE):
            rows_max = self._settings().flush.rows_max * _ROWS_AT_MOST
            return self.tables.staged_rows < rows_max
        return reason is FlushReason.SHUTDOWN

    def _due(self) -> FlushReason | None:
        if not self._staged:
            return None
        return reason_to_flush(
            self._settings().flush,
            Gathered(
                self.tables.staged_rows,
                self._staged_bytes,
                time.monotonic() - self._staged[0].accepted_at,
                is_requested=bool(self._flush_requests) or self._copy_waits(),
                is_closing=self._is_closing,
                is_memory_short=self._budget.is_short(self.key),
            ),
        )

    def _copy_waits(self) -> bool:
        return bool(self._waiting) and self._waiting[0].copy is not None

    def _pause(self) -> float | None:
        """How long nothing will be due."""
        now = time.monotonic()
        due = self._retry_at if self.failures else None
        if self._staged and not self.failures:
            due = self._staged[0].accepted_at + self._settings().flush.age_seconds_max
        return None if due is None else max(due - now, 0.001)

    def _stage_next(self) -> None:
        entry = self._waiting[0]
        try:
            if entry.copy is not None:
                self._copy_in(entry)
                return
            if self._letters.is_dropped(self.key, entry.after_lsn, entry.last_lsn):
                changes: tuple[Change, ...] = ()
            else:
                changes = beyond(self._changes_of(entry), self.staged_lsn)
            after = self.staged_lsn
            batch = Batch(self.key.source, self.key.branch, after, entry.last_lsn, changes)
            with self.tables_lock:
                self.tables.stage(batch)
        except Exception as error:  # whatever it is, it is this batch's, and is told
            if entry.copy is not None or getattr(error, "is_retryable", False):
                self._note_failure(error)
            else:
                self._bury(entry, error)
            return
        with self._cond:
            self._waiting.popleft()
            self._staged.append(entry)
            self.staged_lsn = entry.last_lsn
            if self.tier.is_logged:
                entry.changes = None  # the log has them, should the tables be opened anew
            entry.held_bytes = 0
            self._staged_bytes = self.tables.staged_bytes
            self._note_memory()

    def _changes_of(self, entry: _Entry) -> tuple[Change, ...]:
        if entry.changes is not None:
            return entry.changes
        changes: list[Change] = []
        for position in entry.parts:
            record = self._log.read(position)
            message = decode_message(record.payload, Form(record.kind & _FORM_BITS))
            assert isinstance(message, BatchMessage)
            changes += message.changes
        return tuple(changes)

    def _copy_in(self, entry: _Entry) -> None:
        assert entry.copy is not None
        with self.tables_lock, _tracer.start_as_current_span("dolake.copy"):
            copy = SpooledCopy(entry.copy)
            self.tables.initial_copy(entry.last_lsn, copy.tables(), keeps_others=copy.keeps_others)
        with self._cond:
            self._waiting.popleft()
            self._staged.clear()
            self.staged_lsn = entry.last_lsn
            self._note_flushed(entry.last_lsn)
        entry.copy.unlink(missing_ok=True)

    def _flush(self, reason: FlushReason) -> None:
        began = time.monotonic()
        staged = len(self._staged)
        try:
            # Not under the lock: what is staged stays as it is until it is committed, and queries
            # read it all the while, however long the store takes.
            with _tracer.start_as_current_span(
                "dolake.flush",
                attributes={"dolake.source": str(self.key), "dolake.reason": reason.value},
            ):
                flushed = self.tables.flush()
        except Exception as error:  # nothing is lost: it is tried again, and /status tells why
            self._metrics.flush_failures.inc()
            self._note_failure(error)
            return
        self._metrics.flushes.labels(reason.value).inc()
        spent = time.monotonic() - began
        self._metrics.flush_seconds.observe(spent)
        self._flush_seconds.append(spent)
        with self._cond:
            for _ in range(staged):
                self._staged.popleft()
            # Where no table was touched there is no snapshot to hold the watermark: the log does.
            is_in_snapshot = bool(flushed.tables)
            self._note_flushed(self.staged_lsn if is_in_snapshot else self.committed_lsn)

    def _note_flushed(self, committed_lsn: int) -> None:
        self.committed_lsn = committed_lsn
        self._staged_bytes = self.tables.staged_bytes
        self.failures = 0
        self.last_error = None
        self._retry_at = 0.0
        self.last_flush_at = time.time()
        self._log.release(str(self.key), committed_lsn)
        self._note_lsns()
        self._note_memory()
        reached = [wanted for upto, wanted in self._flush_requests if upto <= self.staged_lsn]
        self._flush_requests = [
            (upto, wanted) for upto, wanted in self._flush_requests if upto > self.staged_lsn
        ]
        for wanted in reached:
            if not wanted.cancelled():
                wanted.set_result(committed_lsn)
        for call in list(self._on_commit):
            call(committed_lsn)

    def _note_failure(self, error: Exception) -> None:
        with self._cond:
            self.failures += 1
            self.last_error = error
            self._retry_at = time.monotonic() + self._settings().retry.pause_seconds(self.failures)

    def _bury(self, entry: _Entry, error: Exception) -> None:
        """The tables cannot take the batch: begin anew at the last snapshot, without it."""
        raw = b"".join(self._log.read(position).payload for position in entry.parts)
        is_halting = self.tier is Tier.P0
        state: Literal["halting", "passed"] = "halting" if is_halting else "passed"
        letter = self._letters.keep(self.key, entry.after_lsn, entry.last_lsn, state, error, raw)
        self._metrics.dead_letters.labels(self.key.source).inc()
        with self._cond:
            self.last_error = error
            if is_halting:
                self.halted = letter
            if self.tier.is_logged:
                self._must_reopen = True  # the tables may have taken half of it in
            else:
                self._waiting.popleft()
                self.staged_lsn = entry.last_lsn

    def _reopen(self) -> None:
        """Open the tables as the last snapshot has them, and stage what is beyond it again."""
        try:
            with self.tables_lock:
                self.tables = self._open_tables(self.key)
        except Exception as error:  # the store is away, say: tried again
            self._note_failure(error)
            return
        with self._cond:
            self._must_reopen = False
            self.staged_lsn = self.committed_lsn = self.tables.watermark
            self._waiting.extendleft(reversed(self._staged))
            self._staged.clear()
            self._staged_bytes = 0

    def status(self) -> dict[str, Any]:
        """Where the source stands, for people and programs."""
        with self._cond:
            error = self.last_error
            oldest = self._staged or self._waiting
            return {
                "tier": self.tier.value,
                "accepted_lsn": self.accepted_lsn,
                "staged_lsn": self.staged_lsn,
                "committed_lsn": self.committed_lsn,
                "staged_rows": self.tables.staged_rows,
                "staged_bytes": self._staged_bytes,
                "waiting_batches": len(self._waiting),
                "oldest_seconds": (
                    round(time.monotonic() - oldest[0].accepted_at, 3) if oldest else 0.0
                ),
                "last_flush_at": self.last_flush_at,
                "recent_flush_seconds": [round(spent, 4) for spent in self._flush_seconds],
                "is_store_away": self.is_store_away,
                "failures": self.failures,
                "error": None if error is None else str(error),
                "halted": None if self.halted is None else self.halted.error,
            }

    # -- noting ------------------------------------------------------------------------------------

    def _note_memory(self) -> None:
        held = sum(entry.held_bytes for entry in self._waiting) + self._staged_bytes
        self._budget.hold(self.key, held)
        self._metrics.memory_bytes.set(self._budget.held_bytes)

    def _note_lsns(self) -> None:
        self._metrics.committed_lsn.labels(str(self.key)).set(self.committed_lsn)
        self._metrics.log_bytes.set(self._log.size_bytes)
