"""Puts what a source has accepted into its tables: staged in memory, flushed into snapshots.

`staged_lsn >= committed_lsn` at any time. A flush that fails is tried again for as long as it
takes; a batch that the tables cannot take becomes a dead letter; and tables that may have taken in
half of one are opened anew, at the last snapshot.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from opentelemetry import trace

from dolake.changes import Batch, Change
from dolake.ingest.copy_spool import SpooledCopy
from dolake.ingest.dead_letters import DeadLetter
from dolake.ingest.deduplication import beyond
from dolake.ingest.event_log import LogPosition
from dolake.ingest.flush_policy import FlushReason, Gathered, reason_to_flush
from dolake.ingest.lake_tables import LakeTables, SourceKey
from dolake.ingest.log_records import logged_message
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.shared_ingest import SharedIngest
from dolake.ingest.wire_format import encode_message
from dolake.settings import Tier
from dosql_core.errors import Error

# How far a snapshot may go beyond the rows that make it due, where more has arrived meanwhile.
_ROWS_AT_MOST = 8

_FLUSHES_REMEMBERED = 100

_tracer = trace.get_tracer("dolake")


@dataclass(slots=True)
class AcceptedCommits:
    """Commits that are accepted and not committed; decoded only while memory allows it.

    Shape: `parts` is where the log has them; `copy` is the file of a whole copy of the tables.
    """

    after_lsn: int
    last_lsn: int
    parts: Sequence[LogPosition] = ()
    changes: tuple[Change, ...] | None = None
    held_bytes: int = 0
    copy: Path | None = None
    accepted_at: float = 0.0


class SourceWriter:
    """Writes the tables of one branch of one source, in a thread of its own.

    Threads: everything may be called from any; `tables` are staged into under `tables_lock`.
    """

    def __init__(
        self,
        key: SourceKey,
        shared: SharedIngest,
        changing: threading.Condition,
    ) -> None:
        """Open the tables; `changing` guards, and tells of, what is here to be written."""
        self.key = key
        self._open_tables = shared.open_tables
        self._log = shared.log
        self._letters = shared.letters
        self._budget = shared.budget
        self._metrics = shared.metrics
        self._settings = shared.settings
        self._cond = changing
        self.tables_lock = threading.Lock()
        self.tables: LakeTables = shared.open_tables(key)
        self.staged_lsn = self.committed_lsn = self.tables.watermark
        self.halted: DeadLetter | None = None
        self.last_error: Exception | None = None
        self.failures = 0
        self.last_flush_at: float | None = None
        self._flush_seconds: deque[float] = deque(maxlen=_FLUSHES_REMEMBERED)
        self._retry_at = 0.0
        self._waiting: deque[AcceptedCommits] = deque()
        self._staged: deque[AcceptedCommits] = deque()
        self._staged_bytes = 0
        self._flush_requests: list[tuple[int, Future[int]]] = []
        self._on_commit: list[Callable[[int], None]] = []
        self.is_closing = False
        self._is_ended = False
        self._must_reopen = False
        self._thread = threading.Thread(target=self._work, name=f"lake {key}", daemon=True)
        self._note_lsns()

    def start(self) -> None:
        """Begin to stage and flush."""
        self._thread.start()

    @property
    def tier(self) -> Tier:
        """How hard the lake holds on to what this source sends."""
        return self._settings().tier_of(self.key.source)

    @property
    def is_store_away(self) -> bool:
        """Whether the last flush failed, so that changes pile up here."""
        return self.failures > 0

    def take(self, commits: AcceptedCommits) -> None:
        """Have commits written, after those that were taken before."""
        commits.accepted_at = time.monotonic()
        with self._cond:
            self._waiting.append(commits)
            self._note_memory()
            self._cond.notify_all()

    def waiting_copies(self) -> set[Path]:
        """The files of copies that wait for being put into the tables."""
        with self._cond:
            return {commits.copy for commits in self._waiting if commits.copy is not None}

    # -- asking ------------------------------------------------------------------------------------

    def request_flush(self) -> Future[int]:
        """A future of the LSN committed, once everything taken so far is in a snapshot."""
        wanted: Future[int] = Future()
        with self._cond:
            if not self._uncommitted() or self.halted is not None:
                wanted.set_result(self.committed_lsn)
            else:
                last = self._waiting[-1] if self._waiting else self._staged[-1]
                self._flush_requests.append((last.last_lsn, wanted))
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

    def stop(self) -> None:
        """Flush what is here, and end."""
        with self._cond:
            self.is_closing = True
            self._retry_at = 0.0
            self._cond.notify_all()

    def close(self, *, timeout_seconds: float, flush: bool = True) -> None:
        """Flush what is staged if the store lets us, and end; the log keeps what is left."""
        self._is_ended = not flush
        self.stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._budget.forget(self.key)
        for _, wanted in self._flush_requests:
            wanted.cancel()

    def status(self) -> dict[str, Any]:
        """Where the source stands, for people and programs."""
        with self._cond:
            error = self.last_error
            oldest = self._staged or self._waiting
            return {
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

    # -- what to do next ---------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._cond:
                while not (step := self._next_step()):
                    if self.is_closing and (
                        self._is_ended
                        or not self._uncommitted()
                        or self.halted is not None
                        or self.failures
                    ):
                        return
                    self._cond.wait(self._pause())
            try:
                step()
            except Exception as error:  # a full disk, say: tried again, and /status tells why
                self._note_failure(error)

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
                is_closing=self.is_closing,
                is_memory_short=self._budget.is_short(self.key),
            ),
        )

    def _copy_waits(self) -> bool:
        return bool(self._waiting) and self._waiting[0].copy is not None

    def _pause(self) -> float | None:
        """How long nothing will be due."""
        now = time.monotonic()
        due = self._retry_at if self.failures and self._retry_at > now else None
        if due is None and self._staged:
            due = self._staged[0].accepted_at + self._settings().flush.age_seconds_max
        return None if due is None else max(due - now, 0.001)

    # -- staging and flushing ----------------------------------------------------------------------

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

    def _changes_of(self, entry: AcceptedCommits) -> tuple[Change, ...]:
        if entry.changes is not None:
            return entry.changes
        messages = [logged_message(self._log.read(position)) for position in entry.parts]
        return tuple(change for message in messages for change in message.changes)

    def _copy_in(self, entry: AcceptedCommits) -> None:
        assert entry.copy is not None
        with self.tables_lock, _tracer.start_as_current_span("dolake.copy"):
            copy = SpooledCopy(entry.copy)
            self.tables.initial_copy(
                entry.last_lsn,
                copy.tables(),
                keeps_others=copy.keeps_others,
                committed_at=copy.committed_at,
            )
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
            with contextlib.suppress(InvalidStateError):  # whoever asked may have gone
                wanted.set_result(committed_lsn)
        for call in list(self._on_commit):
            call(committed_lsn)

    def _note_failure(self, error: Exception) -> None:
        with self._cond:
            self.failures += 1
            self.last_error = error
            self._retry_at = time.monotonic() + self._settings().retry.pause_seconds(self.failures)

    def _bury(self, entry: AcceptedCommits, error: Exception) -> None:
        """The tables cannot take the batch: begin anew at the last snapshot, without it."""
        is_halting = self.tier is Tier.P0
        state: Literal["halting", "passed"] = "halting" if is_halting else "passed"
        raw = self._as_json(entry)
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

    def _as_json(self, entry: AcceptedCommits) -> bytes:
        try:
            changes = self._changes_of(entry)
        except Error:  # it cannot be read, and may be why the batch is buried
            return b""
        return encode_message(BatchMessage(0, entry.after_lsn, entry.last_lsn, changes), Form.JSON)

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

    def _note_memory(self) -> None:
        held = sum(entry.held_bytes for entry in self._waiting) + self._staged_bytes
        self._budget.hold(self.key, held)
        self._metrics.memory_bytes.set(self._budget.held_bytes)

    def _note_lsns(self) -> None:
        self._metrics.committed_lsn.labels(str(self.key)).set(self.committed_lsn)
        self._metrics.log_bytes.set(self._log.size_bytes)
