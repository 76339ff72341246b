"""One connection of a source: messages in, answers out in their order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from dolake.errors import (
    MalformedMessageError,
    RefusedError,
    ShuttingDownError,
    SourceBusyError,
)
from dolake.ingest.authorization import bearer_token, check_token
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import (
    Ack,
    BatchMessage,
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
from dolake.ingest.rate_limit import TokenBucket
from dolake.ingest.reception import check_connect, read_message, refusal, take_batch
from dolake.ingest.source_identity import check_identity
from dolake.ingest.source_pipeline import Accepted, SourcePipeline, Status
from dolake.ingest.wire_format import encode_message
from dolake.settings import Tier

_CONNECT_SECONDS_MAX = 10.0
_UNANSWERED_MAX = 1000
_SILENT_HEARTBEATS_MAX = 3
_POLICY_VIOLATION, _GOING_AWAY = 1008, 1001

_log = logging.getLogger("dolake.ingest")

Answer = Callable[[], "asyncio.Future[LakeMessage]"]


class WebSocketSession:
    """Serves one connection until it ends. Used in the event loop's thread."""

    def __init__(self, service: IngestService, socket: WebSocket) -> None:
        self._service = service
        self._socket = socket
        self._id = uuid.uuid4().hex
        self._form = Form.JSON  # of the message before us
        self._first_form = Form.JSON
        self._pipeline: SourcePipeline | None = None
        self._answers: asyncio.Queue[tuple[Answer, Form] | None] = asyncio.Queue(_UNANSWERED_MAX)
        self._messages = TokenBucket(
            lambda: service.settings.limits.messages_per_second, "messages"
        )
        self._sequence: int | None = None
        self.ended = asyncio.Event()

    @property
    def key(self) -> SourceKey | None:
        """The source that sends here; None before it has said so."""
        return None if self._pipeline is None else self._pipeline.key

    async def serve(self, enter: Callable[[WebSocketSession], None]) -> None:
        """Serve it to its end; `enter` is told when the source is known."""
        try:
            try:
                pipeline = await self._connected()
            except RefusedError as error:
                await self._refuse(error)
                return
            enter(self)
            await self._serve_source(pipeline)
        except WebSocketDisconnect:
            pass
        finally:
            self.ended.set()

    async def say_goodbye(self, error: RefusedError) -> None:
        """End the connection, telling why."""
        with contextlib.suppress(Exception):
            await self._refuse(error)

    # -- the connection ----------------------------------------------------------------------------

    async def _connected(self) -> SourcePipeline:
        try:
            raw = await asyncio.wait_for(self._received(), _CONNECT_SECONDS_MAX)
        except TimeoutError:
            raise MalformedMessageError(
                f"a connect message was expected within {_CONNECT_SECONDS_MAX:.0f} s"
            ) from None
        self._first_form = self._form
        connect = read_message(self._service, raw, self._form)
        if not isinstance(connect, Connect):
            raise MalformedMessageError("a connect message was expected first")
        settings = self._service.settings
        token = connect.token or bearer_token(self._socket.headers)
        check_token(settings.tokens, token, connect.source)
        check_connect(self._service, connect)
        if connect.tier is not None and Tier(connect.tier) is not settings.tier_of(connect.source):
            self._service.configure({"tiers": {connect.source: connect.tier}})
        key = SourceKey(connect.source, connect.branch)
        await asyncio.to_thread(
            check_identity, self._service.directory, connect.source, connect.database_id
        )
        pipeline = await asyncio.to_thread(self._service.pipeline, key)
        self._pipeline = pipeline
        limits = settings.limits
        await self._send(
            Welcome(
                self._id,
                pipeline.accepted_lsn,
                pipeline.committed_lsn,
                pipeline.needs_copy,
                pipeline.tier.value,
                limits.heartbeat_seconds,
                limits.message_bytes_max,
                limits.event_bytes_max,
                limits.messages_per_second,
                pipeline.last_commit,
            ),
            self._form,
        )
        return pipeline

    async def _serve_source(self, pipeline: SourcePipeline) -> None:
        loop = asyncio.get_running_loop()

        def committed(lsn: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(self._tell_committed, lsn)

        end_telling = pipeline.writer.on_commit(committed)
        sender = asyncio.create_task(self._send_answers())
        try:
            while await self._take_next(pipeline):
                pass
            await self._answers.put(None)
            await sender
        finally:
            end_telling()
            pipeline.abandon_copy()
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await sender

    async def _take_next(self, pipeline: SourcePipeline) -> bool:
        """Deal with one message; False at the end."""
        silence = self._service.settings.limits.heartbeat_seconds * _SILENT_HEARTBEATS_MAX
        try:
            raw = await asyncio.wait_for(self._received(), silence)
        except TimeoutError:
            await self._refuse(MalformedMessageError(f"nothing was heard for {silence:.0f} s"))
            return False
        self._sequence = None
        try:
            self._messages.take()
            message = read_message(self._service, raw, self._form)
            self._sequence = getattr(message, "sequence", None)
            if isinstance(message, Disconnect):
                return False
            answer = await self._taken(pipeline, message, _as_bytes(raw), self._form)
        except Exception as error:
            if not isinstance(error, RefusedError):
                _log.exception("a message of %s failed", pipeline.key)
            nack = refusal(self._service, error, self._sequence, pipeline.accepted_lsn)
            answer = _at_once(nack)
        if answer is not None:
            await self._answers.put((answer, self._form))
        return True

    async def _taken(
        self, pipeline: SourcePipeline, message: SourceMessage, raw: bytes, form: Form
    ) -> Answer | None:
        match message:
            case BatchMessage():
                return self._when_durable(
                    message.sequence, take_batch(self._service, pipeline, message, raw, form)
                )
            case Heartbeat():
                return _at_once(Heartbeat(message.sent_at, pipeline.committed_lsn))
            case FlushRequest():
                return self._when_flushed(message.sequence, pipeline)
            case CopyBegin():
                pipeline.begin_copy(message.lsn, raw, form)
                return self._buffered(message.sequence, pipeline)
            case CopyRows():
                await asyncio.to_thread(pipeline.add_to_copy, raw, form)
                return self._buffered(message.sequence, pipeline)
            case CopyEnd():
                accepted = await asyncio.to_thread(pipeline.end_copy)
                return self._when_durable(message.sequence, accepted)
        raise MalformedMessageError("a second connect message")

    # -- answers -----------------------------------------------------------------------------------

    def _when_durable(self, sequence: int, accepted: Accepted) -> Answer:
        pipeline = self._pipeline
        assert pipeline is not None

        async def answer() -> LakeMessage:
            if accepted.durable is not None:
                try:
                    await asyncio.wrap_future(accepted.durable)
                except Exception as error:
                    return refusal(self._service, error, sequence, pipeline.committed_lsn)
            return Ack(sequence, accepted.status, accepted.lsn, pipeline.committed_lsn)

        return lambda: asyncio.ensure_future(answer())

    def _when_flushed(self, sequence: int, pipeline: SourcePipeline) -> Answer:
        wanted = pipeline.writer.request_flush()

        async def answer() -> LakeMessage:
            try:
                await asyncio.wrap_future(wanted)
            except asyncio.CancelledError:
                return refusal(self._service, ShuttingDownError("no flush"), sequence, None)
            return Ack(sequence, "ok", pipeline.accepted_lsn, pipeline.committed_lsn)

        return lambda: asyncio.ensure_future(answer())

    def _buffered(self, sequence: int, pipeline: SourcePipeline) -> Answer:
        status: Status = "buffered"
        return _at_once(Ack(sequence, status, pipeline.accepted_lsn, pipeline.committed_lsn))

    def _tell_committed(self, lsn: int) -> None:
        assert self._pipeline is not None
        with contextlib.suppress(asyncio.QueueFull):  # the next ack tells it, too
            told = _at_once(Ack(0, "ok", self._pipeline.accepted_lsn, lsn))
            self._answers.put_nowait((told, self._first_form))

    async def _send_answers(self) -> None:
        while (found := await self._answers.get()) is not None:
            answer, form = found
            await self._send(await answer(), form)

    async def _refuse(self, error: RefusedError) -> None:
        expected = None if self._pipeline is None else self._pipeline.accepted_lsn
        await self._send(refusal(self._service, error, None, expected), self._first_form)
        is_going = isinstance(error, ShuttingDownError | SourceBusyError)
        code = _GOING_AWAY if is_going else _POLICY_VIOLATION
        await self._socket.close(code, str(error)[:100])

    # -- the socket --------------------------------------------------------------------------------

    async def _received(self) -> bytes | str:
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1000))
        text: str | None = event.get("text")
        if text is not None:
            self._form = Form.JSON
            return text
        self._form = Form.MSGPACK
        raw: bytes = event["bytes"]
        return raw

    async def _send(self, message: LakeMessage, form: Form) -> None:
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        raw = encode_message(message, form)
        if form is Form.JSON:
            await self._socket.send_text(raw.decode())
        else:
            await self._socket.send_bytes(raw)


def _at_once(message: LakeMessage | Nack) -> Answer:
    def answer() -> asyncio.Future[LakeMessage]:
        done: asyncio.Future[LakeMessage] = asyncio.get_running_loop().create_future()
        done.set_result(message)
        return done

    return answer


def _as_bytes(raw: bytes | str) -> bytes:
    return raw.encode() if isinstance(raw, str) else raw
