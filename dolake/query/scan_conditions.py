"""A DuckDB without access to anything, and what its optimizer knows of the rows a query needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import duckdb

from dolake.catalog.json_fields import Json
from dolake.errors import LakeQueryError
from dolake.query.column_types import quoted_name
from dolake.query.query_result import QueryLimits, message_of
from dolake.query.query_text import TableReference, parsed_expression
from dolake.query.scan_plan import column_list

_OPTIMIZERS_OFF = "statistics_propagation,empty_result_pullup"


def closed_duckdb(
    limits: QueryLimits, *, is_for_planning: bool = False
) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own for one query: no extension is fetched, no variable of ours is seen."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": f"{limits.memory_bytes_max}B",
            "threads": str(limits.threads_max),
        }
    )
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET TimeZone = 'UTC'")
    if is_for_planning:
        connection.execute(f"SET disabled_optimizers = '{_OPTIMIZERS_OFF}'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    return connection


def scan_conditions(
    planner: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Sequence[Any],
    references: Sequence[TableReference],
    schemas: Sequence[Json],
) -> dict[tuple[str, str], list[list[Any]]]:
    """What DuckDB's optimizer knows of the rows that each scan of a relation needs.

    Found out on empty tables of the same shape, with what would make use of their emptiness off.
    """
    planner.execute("BEGIN")
    try:
        for reference, schema in zip(references, schemas, strict=True):
            names = [quoted_name(part) for part in reference.relation]
            planner.execute(f"CREATE SCHEMA IF NOT EXISTS {names[0]}")
            planner.execute(f"CREATE TABLE {names[0]}.{names[1]} ({column_list(schema)})")
        try:
            [(_, plan)] = planner.execute(
                f"EXPLAIN (FORMAT json) {sql}", list(parameters)
            ).fetchall()
        except duckdb.Error as error:
            raise LakeQueryError(message_of(error)) from error
        by_name = {
            f"memory.{reference.relation[0]}.{reference.relation[1]}": reference.relation
            for reference in references
        }
        found: dict[tuple[str, str], list[list[Any]]] = {}
        for told in _scans(json.loads(plan)):
            relation = by_name.get(told.get("Table", ""))
            if relation is not None:
                filters = told.get("Filters", [])
                texts = [filters] if isinstance(filters, str) else filters
                trees = [
                    parsed_expression(planner, text.removeprefix("optional: ")) for text in texts
                ]
                found.setdefault(relation, []).append([tree for tree in trees if tree is not None])
        return found
    finally:
        with contextlib.suppress(duckdb.Error):  # a failure may have ended the transaction
            planner.execute("ROLLBACK")


def _scans(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        yield node.get("extra_info", {})
        yield from _scans(node.get("children", ()))
