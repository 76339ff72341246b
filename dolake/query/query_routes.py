"""Queries over HTTP: `POST /v1/query`, answered as JSON or as an Arrow stream."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dolake.catalog.json_fields import Json, boolean, integer, object_of, shown, text
from dolake.catalog.rest_calls import RestOptions
from dolake.catalog.rest_errors import error_response, response_for
from dolake.errors import LakeQueryError, TableMetadataError
from dolake.query.lake_query import LakeQuery
from dolake.query.query_result import QueryLimits, QueryResult

ARROW_STREAM = "application/vnd.apache.arrow.stream"
_BODY_BYTES_MAX = 1 << 20
_JSON_ROWS_MAX = 10_000


def query_routes(
    query: LakeQuery, options: RestOptions | None = None, limits: QueryLimits | None = None
) -> list[Route]:
    """The routes of queries; `limits` are what a request may ask for at most."""
    most = limits or QueryLimits()
    let_in = options or RestOptions()

    async def respond(request: Request) -> Response:
        if not let_in.lets_in(request.headers.get("authorization", "")):
            return error_response(401, "NotAuthorizedException", "a bearer token was expected")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _BODY_BYTES_MAX:
                return error_response(413, "BadRequestException", "the query is too long")
        wants_arrow = ARROW_STREAM in request.headers.get("accept", "")
        return await run_in_threadpool(_answer, query, body, wants_arrow, most)

    return [Route("/v1/query", respond, methods=["POST"])]


def _answer(query: LakeQuery, body: bytes, wants_arrow: bool, most: QueryLimits) -> Response:
    try:
        request = _request(body)
        sql = text(request, "sql", "the query")
        parameters = request.get("parameters", [])
        if not isinstance(parameters, list):
            raise TableMetadataError(f"'parameters' is {shown(parameters)}; a list was expected")
        if boolean(request, "explain", "the query", default=False):
            return _json({"tables": query.explain(sql, parameters)})
        result = query.run(sql, parameters, limits=_limits(request, most, wants_arrow))
        if wants_arrow:
            return StreamingResponse(_arrow_stream(result), media_type=ARROW_STREAM)
        with result:
            return _json(_rows(result))
    except Exception as error:
        return response_for(error)


def _request(body: bytes) -> Json:
    try:
        return object_of(orjson.loads(body), "the query")
    except ValueError as error:
        raise TableMetadataError(f"the query is not JSON: {error}") from error


def _limits(request: Json, most: QueryLimits, wants_arrow: bool) -> QueryLimits:
    """What the request asks for, where that is not more than it may."""
    rows = integer(request, "rows-max", "the query", default=0 if wants_arrow else _JSON_ROWS_MAX)
    seconds = request.get("seconds-max", most.seconds_max)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if rows < 0 or not is_number or not seconds > 0:
        raise LakeQueryError("rows-max and seconds-max are numbers above 0")
    if most.rows_max:
        rows = min(rows or most.rows_max, most.rows_max)
    return replace(most, rows_max=rows, seconds_max=min(float(seconds), most.seconds_max))


def _rows(result: QueryResult) -> Json:
    rows = [list(row.values()) for batch in result.batches for row in _records(batch)]
    return {
        "columns": [{"name": column.name, "type": str(column.type)} for column in result.schema],
        "rows": rows,
        "row-count": len(rows),
        "is-cut": result.is_cut,
        "tables": [table.told() for table in result.tables],
    }


def _records(batch: pa.RecordBatch) -> Iterator[dict[int, Any]]:
    """Rows by the place of the column: two columns may have the same name."""
    columns = [column.to_pylist() for column in batch.columns]
    for values in zip(*columns, strict=True):
        yield dict(enumerate(values))


def _arrow_stream(result: QueryResult) -> Iterator[bytes]:
    """The rows in Arrow's stream format. A failure on the way breaks the stream off."""
    with result:
        sink = _Chunks()
        with pa.ipc.new_stream(sink, result.schema) as writer:
            yield from sink.taken()
            for batch in result.batches:
                writer.write_batch(batch)
                yield from sink.taken()
        yield from sink.taken()


class _Chunks:
    """What Arrow writes, handed on piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        pass

    def taken(self) -> Iterator[bytes]:
        parts, self._parts = self._parts, []
        yield from parts


def _json(content: Json) -> Response:
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    raw = orjson.dumps(content, default=_plain, option=options)
    return Response(raw, media_type="application/json")


def _plain(value: Any) -> Any:
    """A value that JSON has not, as text; bytes in base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)  # decimals, UUIDs, intervals, whole numbers beyond 64 bits
