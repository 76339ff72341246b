"""Sends a database's changes to a lake over WebSocket, for as long as it takes.

Whatever happens to either side or to the line between them, the lake says on connecting from where
to go on, and the slot keeps what is not in a snapshot of the lake yet.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from dolake.changes import SourceCommit, SqlValue, TableSchema
from dolake.errors import (
    LakeConfigurationError,
    LakeUnreachableError,
    MalformedMessageError,
    RefusedError,
    SequenceError,
)
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.database_sync import SyncReport, SyncResult
from dolake.ingest.message_splitting import MessageSplitter
from dolake.ingest.messages import (
    Ack,
    Connect,
    CopyBegin,
    CopyEnd,
    CopyRows,
    Disconnect,
    FlushRequest,
    Form,
    Heartbeat,
    LakeMessage,
    Nack,
    SourceMessage,
    Welcome,
)
from dolake.ingest.read_ahead import ReadAhead
from dolake.ingest.schema_messages import schema_message
from dolake.ingest.wire_format import decode_answer, encode_message
from dolake.settings import RetryPolicy

_ANSWER_SECONDS = 60.0
_UNANSWERED_MAX = 32
_TAKE_SECONDS = 0.25
_FILL = 0.95  # of the largest message, for what surrounds the changes
_COPY_BYTES = 1 << 20
_REFUSALS_MAX = 5  # in a row, on connections that got nothing through
_PASSING_REASONS = frozenset({"buffer_full", "rate_limited", "shutting_down"})
# What connecting anew may mend, or somebody at the lake.
_DOUBTFUL_REASONS = frozenset({"invalid_sequence", "internal_error"})


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How changes are sent.

    Shape: `tier` None leaves it to the lake. `form` is how messages are written.
    """

    url: str
    token: str | None = None
    tier: str | None = None
    form: Form = Form.MSGPACK
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class _ConnectionLostError(Exception):
    """The connection is of no more use; connect anew after `pause_seconds`."""

    def __init__(self, cause: Exception, pause_seconds: float | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.pause_seconds = pause_seconds


class PushClient:
    """Pushes one source. `run` is used by one thread; `stop` may come from any."""

    def __init__(self, source: DatabaseSource, options: PushOptions, report: SyncReport) -> None:
        self._source = source
        self._options = options
        self._report = report
        self._stopping = threading.Event()
        self.result = SyncResult()

    def stop(self) -> None:
        """Have `run` end after what is on its way is answered."""
        self._stopping.set()

    def run(
        self, *, follow: bool, copy: bool = False, patience_seconds: float = 30.0
    ) -> SyncResult:
        """Bring the lake up to the present; with `follow`, keep it there until `stop`.

        Units:  without `follow`, `patience_seconds` is how long a lake may be away.
        Errors: RefusedError's kinds when the lake will not have it; LakeUnreachableError;
                ChangesNotKeptError when the database no longer has what the lake lacks.
        """
        failures = refusals = 0
        reached = -1
        lost_since: float | None = None
        while True:
            try:
                with _Line(self._source, self._options, self._report, self.result) as line:
                    copy = line.begin(copy)
                    line.follow(self._stopping, follow=follow)
                    return self.result
            except _ConnectionLostError as lost:
                if self.result.lsn > reached:
                    reached, failures, refusals, lost_since = self.result.lsn, 0, 0, None
                failures += 1
                is_refusal = isinstance(lost.cause, RefusedError) and not lost.cause.is_retryable
                refusals = refusals + 1 if is_refusal else 0
                lost_since = lost_since or time.monotonic()
                if self._stopping.is_set():
                    return self.result
                # Who follows waits for a lake that failed, or a source that was halted.
                is_final = not follow or getattr(lost.cause, "code", "") == SequenceError.code
                if refusals > _REFUSALS_MAX and is_final:
                    raise lost.cause from None
                if not follow and time.monotonic() - lost_since > patience_seconds:
                    raise lost.cause from None
                pause = self._options.retry.pause_seconds(failures) * random.uniform(0.5, 1)
                pause = max(pause, lost.pause_seconds or 0.0)
                self._report.failed(lost.cause, pause)
                if self._stopping.wait(pause):
                    return self.result


class _Line:
    """One connection to the lake."""

    def __init__(
        self,
        source: DatabaseSource,
        options: PushOptions,
        report: SyncReport,
        result: SyncResult,
    ) -> None:
        self._source = source
        self._options = options
        self._report = report
        self._result = result
        self._form = options.form
        self._closing = ExitStack()
        self._socket = self._opened()
        self._unanswered: set[int] = set()
        self._answers: queue.Queue[LakeMessage | Exception] = queue.Queue()
        self._receiver = threading.Thread(target=self._receive, name="lake answers", daemon=True)
        self._receiver.start()
        self._splitter = MessageSplitter(self._form, 1 << 20)
        self._welcome: Welcome | None = None
        self._ahead: ReadAhead | None = None
        self._sent_at = time.monotonic()
        self._next_send = 0.0

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._closing.close()
        self._receiver.join()

    # -- beginning ---------------------------------------------------------------------------------

    def begin(self, copy: bool) -> bool:
        """Say who sends; copy the tables if the lake has none. Whether a copy is still wanted."""
        self._send(
            Connect(
                self._source.name,
                self._source.branch,
                self._options.token,
                self._source.slot_lsn,
                self._source.database_id,
                self._options.tier,  # type: ignore[arg-type]
                time.time_ns() // 1000,
            )
        )
        answer = self._answer()
        if not isinstance(answer, Welcome):
            raise MalformedMessageError(f"a welcome was expected, and {answer} came")
        self._welcome = answer
        self._splitter = MessageSplitter(self._form, int(answer.message_bytes_max * _FILL))
        after = answer.accepted_lsn
        if copy or answer.needs_copy:
            after = self._copy()
        elif answer.last_commit is not None:
            self._source.check_commit(SourceCommit(*answer.last_commit))
        self._result.lsn = max(self._result.lsn, after)
        self._note_committed(answer.committed_lsn)
        self._after = after
        return False

    def _copy(self) -> int:
        lsn = self._source.slot_lsn
        tables = list(self._source.copy(lsn))  # only what they are: rows are read below
        schemas = tuple(schema_message(table.schema) for table, _ in tables)
        keeps_others = self._source.is_partial
        self._ask(
            CopyBegin(
                self._splitter.next_sequence(),
                lsn,
                schemas,
                keeps_others,
                self._source.commit_time(lsn),
            )
        )
        self._result.copied_rows = 0
        self._result.copied_tables = len(tables)
        for table, rows in self._source.copy(lsn):
            copied = 0
            self._report.copied(table.schema.table, 0, table.row_count)
            for some in rows:
                self._send_rows(table.schema, some)
                copied += len(some)
                self._result.copied_rows += len(some)
                self._report.copied(table.schema.table, copied, table.row_count)
        self._ask(CopyEnd(self._splitter.next_sequence()))
        while self._unanswered:
            self._take_answer(self._answer())
        return lsn

    def _send_rows(self, schema: TableSchema, rows: list[tuple[SqlValue, ...]]) -> None:
        """Send rows in messages of moderate size."""
        message = CopyRows(self._splitter.next_sequence(), schema.table, tuple(rows))
        raw = encode_message(message, self._form)
        if len(raw) > _COPY_BYTES and len(rows) > 1:
            middle = len(rows) // 2
            self._send_rows(schema, rows[:middle])
            self._send_rows(schema, rows[middle:])
            return
        self._send_numbered(message.sequence, raw)

    # -- following ---------------------------------------------------------------------------------

    def follow(self, stopping: threading.Event, *, follow: bool) -> None:
        """Send what comes, until the end or `stopping`; then see it into a snapshot."""
        assert self._welcome is not None
        batches = self._source.batches(self._after, follow=follow)
        self._ahead = ReadAhead(batches, self._source.end_waits)
        heartbeat = self._welcome.heartbeat_seconds / 2
        while not stopping.is_set() and not self._ahead.is_at_end:
            wait = _TAKE_SECONDS if not self._unanswered else 0.005
            batch = self._ahead.take(wait)
            if batch is not None:
                for message in self._splitter.messages(batch):
                    self._send_numbered(message.sequence, message.raw)
                self._result.changes += len(batch.changes)
            self._take_answers()
            if time.monotonic() - self._sent_at > heartbeat:
                self._send(Heartbeat(time.time_ns() // 1000))
        self._ask(FlushRequest(self._splitter.next_sequence()))
        while self._unanswered:
            self._take_answer(self._answer())
        with suppress(_ConnectionLostError):
            self._send(Disconnect())

    def _take_answers(self) -> None:
        while True:
            try:
                answer = self._answers.get_nowait()
            except queue.Empty:
                return
            self._take_answer(answer)

    def _take_answer(self, answer: LakeMessage | Exception) -> None:
        match answer:
            case Ack():
                self._unanswered.discard(answer.sequence)
                self._result.lsn = max(self._result.lsn, answer.lsn)
                self._note_committed(answer.committed_lsn)
            case Heartbeat():
                self._note_committed(answer.committed_lsn or 0)
            case Nack():
                raise _refused(answer)
            case Exception():
                raise answer
            case _:
                raise MalformedMessageError(f"{answer} came out of turn")

    def _note_committed(self, lsn: int) -> None:
        """What is in a snapshot of the lake the database need not keep for it any more."""
        if lsn > self._source.slot_lsn:
            self._source.acknowledge(min(lsn, self._source.present_lsn))
            self._result.snapshots += 1
            self._report.committed(lsn, 0)

    # -- the socket --------------------------------------------------------------------------------

    def _opened(self) -> ClientConnection:
        token = self._options.token
        try:
            return self._closing.enter_context(
                connect(
                    self._options.url,
                    additional_headers={"Authorization": f"Bearer {token}"} if token else None,
                    max_size=1 << 24,
                    compression=None,
                    open_timeout=10,
                    close_timeout=5,
                )
            )
        except InvalidURI as error:
            raise LakeConfigurationError(
                f"{self._options.url!r} is not the address of a lake",
                hint="it looks like ws://lake.example.org:8181/ws",
            ) from error
        except (OSError, WebSocketException, TimeoutError) as error:
            raise _lost(f"{self._options.url}: {error}") from error

    def _send(self, message: SourceMessage) -> None:
        self._send_raw(encode_message(message, self._form))

    def _ask(self, message: CopyBegin | CopyEnd | FlushRequest) -> None:
        self._send_numbered(message.sequence, encode_message(message, self._form))

    def _send_numbered(self, sequence: int, raw: bytes) -> None:
        while len(self._unanswered) >= _UNANSWERED_MAX:
            self._take_answer(self._answer())
        self._keep_to_the_rate()
        self._unanswered.add(sequence)
        self._send_raw(raw)

    def _keep_to_the_rate(self) -> None:
        assert self._welcome is not None
        now = time.monotonic()
        if self._next_send > now:
            time.sleep(self._next_send - now)
        self._next_send = max(self._next_send, now - 1.0) + 1.0 / self._welcome.messages_per_second

    def _send_raw(self, raw: bytes) -> None:
        self._sent_at = time.monotonic()
        try:
            self._socket.send(raw.decode() if self._form is Form.JSON else raw)
        except (ConnectionClosed, OSError) as error:
            with suppress(queue.Empty):  # why it was closed comes before the end of it
                while True:
                    self._take_answer(self._answers.get(timeout=1.0))
            raise _lost(f"the connection ended: {error}") from error

    def _answer(self) -> LakeMessage:
        try:
            answer = self._answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise _lost(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
        if isinstance(answer, Nack):
            raise _refused(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _receive(self) -> None:
        try:
            for raw in self._socket:
                self._answers.put(decode_answer(raw))
            self._answers.put(_lost("the lake ended the connection"))
        except (ConnectionClosed, OSError) as error:
            self._answers.put(_lost(f"the connection ended: {error}"))
        except Exception as error:  # told to whoever waits for an answer
            self._answers.put(error)


def _lost(message: str) -> _ConnectionLostError:
    return _ConnectionLostError(LakeUnreachableError(message))


def _refused(nack: Nack) -> Exception:
    """What a nack means: connect anew, or give up."""
    told = RefusedError(nack.message, code=nack.code)
    told.expected_lsn = nack.expected_lsn
    told.retry_after_seconds = nack.retry_after_seconds
    told.is_retryable = nack.reason in _PASSING_REASONS or nack.retry_after_seconds is not None
    if told.is_retryable or nack.reason in _DOUBTFUL_REASONS:
        return _ConnectionLostError(told, nack.retry_after_seconds)
    return told
