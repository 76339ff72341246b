"""The Iceberg REST catalog over HTTP: a thin skin of `TableRegistry`, as an ASGI application."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dolake.catalog.json_fields import shown
from dolake.catalog.rest_answers import ENDPOINTS
from dolake.catalog.rest_calls import Call, RestOptions
from dolake.catalog.rest_errors import error_response, response_for
from dolake.catalog.storage_access import storage_config
from dolake.catalog.table_registry import TableRegistry
from dolake.errors import LakeConfigurationError, TableMetadataError

BODY_BYTES_MAX = 32 << 20
_PAST_CATALOGS_MAX = 8
_MOMENT = re.compile(r"(lsn|snapshot|timestamp):.+", re.DOTALL)
_PAST_PREFIX = re.compile(r"as-of-lsn-(\d{1,18})")


def catalog_application(registry: TableRegistry, options: RestOptions | None = None) -> ASGIApp:
    """The catalog as an ASGI application that answers `/v1/...`.

    It closes the catalogs of past moments that it opened, not the registry it was given.
    """
    service = _Service(registry, options or RestOptions())
    by_path: dict[str, dict[str, Callable[[Call], Response]]] = {}
    for endpoint, answer in ENDPOINTS.items():
        method, _, path = endpoint.partition(" ")
        by_path.setdefault(path, {})[method] = answer
    routes = [Route("/v1/config", service.endpoint({"GET": service.configuration}))]
    for prefix in ("/v1", "/v1/{prefix}"):
        routes += [
            Route(prefix + path, service.endpoint(answers)) for path, answers in by_path.items()
        ]
    application = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _http_error},
        lifespan=None,
    )
    return _RawPath(application)


class _RawPath:
    """Has routes matched on the path as it was sent: a name may hold an escaped slash."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path"):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._application(scope, receive, send)


class _Service:
    """Takes requests apart, has them answered in threads, and tells errors."""

    def __init__(self, registry: TableRegistry, options: RestOptions) -> None:
        self._registry = registry
        self._options = options
        self._past: OrderedDict[int, TableRegistry] = OrderedDict()
        self._past_lock = threading.Lock()

    def endpoint(self, answers: Mapping[str, Callable[[Call], Response]]) -> ASGIApp:
        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            response = await self._answered(request, answers)
            if request.method == "HEAD":
                response = Response(status_code=response.status_code, headers=_bare(response))
            await response(scope, receive, send)

        return _Application(respond)

    def configuration(self, call: Call) -> Response:
        """What a client is to know before it asks for more."""
        overrides: dict[str, str] = {}
        warehouse = call.query.get("warehouse", "")
        if _MOMENT.fullmatch(warehouse):
            overrides["prefix"] = f"as-of-lsn-{self._lsn_of(warehouse)}"
        endpoints = []
        for endpoint in ENDPOINTS:
            method, _, path = endpoint.partition(" ")
            endpoints.append(f"{method} /v1/{{prefix}}{path}")
        return JSONResponse(
            {
                "defaults": storage_config(call.registry.warehouse),
                "overrides": overrides,
                "endpoints": endpoints,
            }
        )

    async def _answered(
        self, request: Request, answers: Mapping[str, Callable[[Call], Response]]
    ) -> Response:
        if not self._options.lets_in(request.headers.get("authorization", "")):
            return error_response(
                401, "NotAuthorizedException", "a bearer token was expected that opens the catalog"
            )
        answer = answers.get(request.method)
        if answer is None:
            response = error_response(
                405, "UnsupportedOperationException", f"{request.method} has no meaning here"
            )
            response.headers["Allow"] = ", ".join(answers)
            return response
        try:
            body = await _body_of(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return error_response(
                413, "BadRequestException", f"the body has more than {BODY_BYTES_MAX} bytes"
            )
        return await run_in_threadpool(self._called, request, answer, body)

    def _called(
        self, request: Request, answer: Callable[[Call], Response], body: bytes
    ) -> Response:
        try:
            path = {name: _unquoted(part) for name, part in request.path_params.items()}
            call = Call(
                self._registry_of(path.get("prefix", "")),
                path,
                request.query_params,
                request.headers,
                _parsed(body),
                self._options,
            )
            return answer(call)
        except Exception as error:
            return response_for(error)

    # -- the past ----------------------------------------------------------------------------------

    def _lsn_of(self, moment: str) -> int:
        with self._registry.as_of(moment) as past:
            return past.lsn

    def _registry_of(self, prefix: str) -> TableRegistry:
        """The catalog that a prefix names: the present one, or that of a moment."""
        if not prefix:
            return self._registry
        found = _PAST_PREFIX.fullmatch(prefix)
        if found is None:
            raise LakeConfigurationError(
                f"there is no catalog {shown(prefix)}", hint="leave the prefix out"
            )
        lsn = int(found[1])
        with self._past_lock:
            past = self._past.pop(lsn, None)
            if past is None:
                past = self._registry.as_of(lsn)
            self._past[lsn] = past
            if len(self._past) > _PAST_CATALOGS_MAX:
                self._past.popitem(last=False)[1].close()
            return past


class _Application:
    """An ASGI application, which a Route takes as it is, with every method."""

    def __init__(self, respond: ASGIApp) -> None:
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._respond(scope, receive, send)


async def _body_of(request: Request) -> bytes | None:
    """The body; None for one that is too long."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > BODY_BYTES_MAX:
            return None
        parts.append(part)
    return b"".join(parts)


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise TableMetadataError(f"the request's body is not JSON: {error}") from error


def _unquoted(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise TableMetadataError(f"{shown(part)} is not UTF-8") from error


def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return error_response(status, "NotFoundException", "there is nothing at this path")


def _bare(response: Response) -> dict[str, str]:
    left_out = ("content-length", "content-type")
    return {name: value for name, value in response.headers.items() if name not in left_out}
