"""The ASGI routes of ingest: /ws and /cdc for sources, and the operations of the lake."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from dolake.errors import (
    DeadLetterNotFoundError,
    DeadLetterPassedError,
    LakeBufferFullError,
    MalformedMessageError,
    MessageTooLargeError,
    RateLimitedError,
    RefusedError,
    ShuttingDownError,
    SourceBusyError,
    UnauthorizedError,
)
from dolake.ingest.authorization import bearer_token, check_token
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import Ack, BatchMessage, Form, Nack
from dolake.ingest.rate_limit import TokenBucket
from dolake.ingest.reception import read_message, refusal, take_batch
from dolake.ingest.websocket_session import WebSocketSession
from dolake.ingest.wire_format import encode_message
from dosql_core.errors import Error

_MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
_HTTP_STATUS = {
    "invalid_format": 400,
    "clock_skew": 400,
    "unauthorized": 401,
    "invalid_sequence": 409,
    "source_in_use": 409,
    "too_large": 413,
    "rate_limited": 429,
    "buffer_full": 503,
    "shutting_down": 503,
}
_ERROR_STATUS: dict[type[Error], int] = {DeadLetterNotFoundError: 404, DeadLetterPassedError: 409}
_FLUSH_SECONDS_MAX = 60.0

Handler = Callable[[Request], Awaitable[Response]]


class IngestRoutes:
    """Serves an IngestService over ASGI. Used in the event loop's thread."""

    def __init__(self, service: IngestService) -> None:
        self._service = service
        limits = service.settings.limits
        self._connections = TokenBucket(
            lambda: service.settings.limits.connections_per_second, "connections"
        )
        self._posts: dict[str, TokenBucket] = {}
        self._sessions: dict[WebSocketSession, None] = {}  # in the order of their coming
        self._is_stopping = False
        assert limits.connections_max > 0

    def routes(self) -> list[BaseRoute]:
        """The routes, to be mounted at the root."""
        return [
            WebSocketRoute("/ws", self._websocket),
            Route("/cdc", _told(self._post, self._service), methods=["POST"]),
            Route("/cdc", _told(self._position, self._service), methods=["GET"]),
            Route("/flush", self._operation(self._flush), methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/status", self._operation(self._status), methods=["GET"]),
            Route("/metrics", self._operation(self._metrics), methods=["GET"]),
            Route("/config", self._operation(self._config), methods=["GET", "PATCH"]),
            Route("/dead-letters", self._operation(self._dead_letters), methods=["GET"]),
            Route(
                "/dead-letters/{name}",
                self._operation(self._dead_letter),
                methods=["GET", "DELETE"],
            ),
            Route(
                "/dead-letters/{name}/retry", self._operation(self._retry_letter), methods=["POST"]
            ),
            Route("/sources/{source}/resume", self._operation(self._resume), methods=["POST"]),
        ]

    async def stop(self) -> None:
        """Take nothing more in, and tell those who are connected."""
        self._is_stopping = True
        goodbye = ShuttingDownError("the lake is shutting down")
        await asyncio.gather(*(session.say_goodbye(goodbye) for session in list(self._sessions)))

    # -- sources -----------------------------------------------------------------------------------

    async def _websocket(self, socket: WebSocket) -> None:
        await socket.accept()
        session = WebSocketSession(self._service, socket)
        try:
            self._let_in()
        except RefusedError as error:
            await session.say_goodbye(error)
            return
        self._sessions[session] = None
        self._service.metrics.connections.set(len(self._sessions))
        try:
            await session.serve(self._take_the_place_of_others)
        finally:
            self._sessions.pop(session, None)
            self._service.metrics.connections.set(len(self._sessions))

    def _let_in(self) -> None:
        if self._is_stopping:
            raise ShuttingDownError("the lake is shutting down")
        self._connections.take()
        limit = self._service.settings.limits.connections_max
        if len(self._sessions) >= limit:
            raise RateLimitedError(f"{limit} sources are connected, and no more can be", 5.0)

    def _take_the_place_of_others(self, entering: WebSocketSession) -> None:
        """A source that connects again may not wait until its dead connection is noticed.

        The connection that came last stays, and that need not be the one that is through first.
        """
        busy = SourceBusyError("the source has connected anew, from here or elsewhere")
        *older, _ = [session for session in self._sessions if session.key == entering.key]
        for session in older:
            task = asyncio.ensure_future(session.say_goodbye(busy))
            task.add_done_callback(lambda _: None)

    async def _post(self, request: Request) -> Response:
        source, branch = self._source_of(request)
        form = _form_of(request)
        if source not in self._posts:
            self._posts[source] = TokenBucket(
                lambda: self._service.settings.limits.messages_per_second, "messages"
            )
        self._posts[source].take()
        if self._is_stopping:
            raise ShuttingDownError("the lake is shutting down")
        raw = await self._body(request)
        batch = read_message(self._service, raw, form)
        if not isinstance(batch, BatchMessage):
            raise MalformedMessageError("a batch message was expected; the others are for /ws")
        pipeline = await asyncio.to_thread(self._service.pipeline, SourceKey(source, branch))
        try:
            accepted = take_batch(self._service, pipeline, batch, raw, form)
            if accepted.durable is not None:
                await asyncio.wrap_future(accepted.durable)
        except Exception as error:
            nack = refusal(self._service, error, batch.sequence, pipeline.accepted_lsn)
            return _nack_response(nack, form)
        ack = Ack(batch.sequence, accepted.status, accepted.lsn, pipeline.committed_lsn)
        return _response(ack, form, 200)

    async def _position(self, request: Request) -> Response:
        source, branch = self._source_of(request)
        pipeline = await asyncio.to_thread(self._service.pipeline, SourceKey(source, branch))
        return JSONResponse(
            {
                "source": source,
                "branch": branch,
                "accepted_lsn": pipeline.accepted_lsn,
                "committed_lsn": pipeline.committed_lsn,
                "needs_copy": pipeline.needs_copy,
            }
        )

    def _source_of(self, request: Request) -> tuple[str, str]:
        source = request.query_params.get("source", "")
        branch = request.query_params.get("branch", "main")
        check_token(self._service.settings.tokens, bearer_token(request.headers), source or "*")
        if not 0 < len(source) <= 255 or not 0 < len(branch) <= 255:
            raise MalformedMessageError("the query names the source: /cdc?source=shop&branch=main")
        return source, branch

    async def _body(self, request: Request) -> bytes:
        limit = self._service.settings.limits.message_bytes_max
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise MessageTooLargeError(f"the message has more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    # -- operations --------------------------------------------------------------------------------

    def _operation(self, handler: Handler) -> Handler:
        async def authorized(request: Request) -> Response:
            check_token(self._service.settings.tokens, bearer_token(request.headers))
            return await handler(request)

        return _told(authorized, self._service)

    async def _health(self, request: Request) -> Response:
        """Whether the lake takes changes in; open to everybody, and so without details."""
        pipelines = self._service.pipelines
        is_degraded = any(each.writer.is_store_away or each.writer.halted for each in pipelines)
        status = "stopping" if self._is_stopping else "degraded" if is_degraded else "ok"
        return JSONResponse({"status": status}, 503 if self._is_stopping else 200)

    async def _status(self, request: Request) -> Response:
        status = await asyncio.to_thread(self._service.status)
        status["connections"] = len(self._sessions)
        return JSONResponse(status)

    async def _metrics(self, request: Request) -> Response:
        text = await asyncio.to_thread(self._service.metrics.exposition)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _flush(self, request: Request) -> Response:
        futures = self._service.flush(request.query_params.get("source"))
        lsns = {}
        try:
            async with asyncio.timeout(_FLUSH_SECONDS_MAX):
                for key, wanted in futures.items():
                    lsns[key] = await asyncio.wrap_future(wanted)
        except TimeoutError:
            raise LakeBufferFullError(
                f"no snapshot within {_FLUSH_SECONDS_MAX:.0f} s; /status tells why"
            ) from None
        return JSONResponse({"committed_lsn": lsns})

    async def _config(self, request: Request) -> Response:
        if request.method == "PATCH":
            changes = await _json_body(request)
            self._service.configure(changes)
        settings = self._service.settings
        return JSONResponse(
            {
                "flush": asdict(settings.flush),
                "limits": asdict(settings.limits),
                "tier": settings.tier.value,
                "tiers": {name: tier.value for name, tier in settings.tiers.items()},
            }
        )

    async def _dead_letters(self, request: Request) -> Response:
        letters = await asyncio.to_thread(self._service.letters.list)
        return JSONResponse({"dead_letters": [letter.told() for letter in letters]})

    async def _dead_letter(self, request: Request) -> Response:
        name = request.path_params["name"]
        letters = self._service.letters
        if request.method == "DELETE":
            await asyncio.to_thread(self._service.discard_letter, name)
            return JSONResponse({"discarded": name})
        letter = await asyncio.to_thread(letters.find, name)
        batch = await asyncio.to_thread(letters.batch, letter)
        return JSONResponse({**letter.told(), "batch": msgspec.json.decode(batch or b"null")})

    async def _retry_letter(self, request: Request) -> Response:
        name = request.path_params["name"]
        await asyncio.to_thread(self._service.retry_letter, name)
        return JSONResponse({"retried": name})

    async def _resume(self, request: Request) -> Response:
        body = await _json_body(request)
        source = request.path_params["source"]
        resumed = [each for each in self._service.pipelines if each.key.source == source]
        for pipeline in resumed:
            await asyncio.to_thread(pipeline.writer.resume, drop=bool(body.get("drop", False)))
        return JSONResponse({"resumed": [str(pipeline.key) for pipeline in resumed]})


def _told(handler: Handler, service: IngestService) -> Handler:
    """A handler whose errors of ours are answers."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError as error:
            return _nack_response(refusal(service, error, None, None), _form_of(request))
        except Error as error:
            status = 503 if error.is_retryable else _ERROR_STATUS.get(type(error), 400)
            return JSONResponse(error.to_json(), status)

    return told


def _nack_response(nack: Nack, form: Form) -> Response:
    response = _response(nack, form, _HTTP_STATUS.get(nack.reason, 500))
    if nack.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(max(round(nack.retry_after_seconds), 1))
    if nack.reason == UnauthorizedError.nack_reason:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _response(message: Ack | Nack, form: Form, status: int) -> Response:
    media_type = "application/json" if form is Form.JSON else _MSGPACK_TYPES[0]
    return Response(encode_message(message, form), status, media_type=media_type)


def _form_of(request: Request) -> Form:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Form.MSGPACK if given in _MSGPACK_TYPES else Form.JSON


async def _json_body(request: Request) -> dict[str, Any]:
    body: Any = None
    with contextlib.suppress(msgspec.MsgspecError):
        body = msgspec.json.decode(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise MalformedMessageError("a JSON object was expected")
    return body
