"""The subcommand that queries a lake: here, or where it is served."""

from __future__ import annotations

import json as json_text
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dolake.command_line.lake_opening import (
    DEFAULT_WAREHOUSE,
    EndpointOption,
    StateOption,
    WarehouseOption,
    open_lake,
)
from dolake.errors import LakeQueryError, LakeUnreachableError
from dolake.query.lake_query import LakeQuery
from dolake.query.query_result import QueryLimits
from dosql_core.command_line.commands.parameters import JsonOption, examples
from dosql_core.command_line.commands.printing import plain, print_json, print_table
from dosql_core.command_line.reporting import note
from dosql_core.command_line.wording import counted, size_text

_ROWS_SHOWN_MAX = 10_000


def query(
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One SELECT over source.table names; `-`: stdin.")
    ],
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask the lake served there, which knows changes that are in no snapshot yet.",
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", envvar="DOLAKE_TOKEN", help="For --server.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Tell which files would be read."),
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="ROWS", min=0, help="At most so many rows; 0 for all.")
    ] = _ROWS_SHOWN_MAX,
    json: JsonOption = False,
) -> None:
    """Query the tables of a lake with DuckDB.

    A table may stand `AS OF LSN 5`, `AS OF TIMESTAMP '...'`, `AS OF SNAPSHOT id` or
    `AS OF BRANCH 'name'`.
    """
    text = sys.stdin.read() if sql == "-" else sql
    if server is not None:
        _ask(server, token, text, explain=explain, limit=limit, json=json)
        return
    with open_lake(warehouse, state, endpoint, must_exist=True) as lake:
        asked = LakeQuery(lake.registry)
        if explain:
            _tell_plan(asked.explain(text), json=json)
            return
        with asked.run(text, limits=QueryLimits(rows_max=limit)) as result:
            columns = [str(name) for name in result.schema.names]
            rows = [
                tuple(values)
                for batch in result.batches
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            ]
            is_cut = result.is_cut
    _tell_rows(columns, rows, is_cut=is_cut, json=json)


def _ask(
    server: str, token: str | None, sql: str, *, explain: bool, limit: int, json: bool
) -> None:
    body = {"sql": sql, "explain": explain, "rows-max": limit}
    request = urllib.request.Request(
        server.rstrip("/") + "/v1/query",
        json_text.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            answer: dict[str, Any] = json_text.load(response)
    except urllib.error.HTTPError as error:
        with error:
            told = error.read().decode("utf-8", "replace")
        try:
            told = json_text.loads(told)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            told = f"{error.code} {error.reason}"
        raise LakeQueryError(told) from error
    except (OSError, ValueError) as error:
        raise LakeUnreachableError(f"{server}: {error}") from error
    if explain:
        _tell_plan(answer["tables"], json=json)
    else:
        names = [column["name"] for column in answer["columns"]]
        rows = [tuple(row) for row in answer["rows"]]
        _tell_rows(names, rows, is_cut=answer["is-cut"], json=json)


def _tell_rows(
    columns: Sequence[str], rows: Sequence[tuple[Any, ...]], *, is_cut: bool, json: bool
) -> None:
    if json:
        print_json([dict(zip(columns, map(_json_value, row), strict=True)) for row in rows])
    else:
        print_table(columns, [tuple(map(_shown, row)) for row in rows])
    if is_cut:
        note(f"only the first {counted(len(rows), 'row')}; --limit says how many")


def _tell_plan(tables: Sequence[dict[str, Any]], *, json: bool) -> None:
    if json:
        print_json(tables)
        return
    print_table(
        ("table", "lsn", "files", "read", "bytes", "read", "by partition", "by statistics"),
        [
            (
                ".".join(table["table"]),
                table["lsn"],
                table["files"],
                table["files-read"],
                size_text(table["bytes"]),
                size_text(table["bytes-read"]),
                table["left-out-by-partition"],
                table["left-out-by-statistics"],
            )
            for table in tables
        ],
    )


def _shown(value: Any) -> Any:
    if value is None or type(value) in (int, float, str, bytes):
        return value
    return str(value)


def _json_value(value: Any) -> Any:
    value = plain(value)
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    return str(value)


def register(app: typer.Typer) -> None:
    """Add this subcommand."""
    app.command(
        epilog=examples(
            'dolake query "select count(*) from shop.orders"',
            'dolake query "select * from shop.orders as of lsn 120" --json',
            'dolake query "select 1 from shop.orders where id = 7" --explain',
        )
    )(query)
