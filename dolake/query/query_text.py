"""The text of a query: which tables it reads, as of which moments, and the text DuckDB is given.

DuckDB's own parser does the work. What it does not know is `AS OF`, which becomes its `AT` clause.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb

from dolake.errors import LakeQueryError

MomentKind = Literal["lsn", "snapshot", "timestamp", "branch", "tag"]
SCHEMA = "dolake"
"""The schema of the relations that stand in for what a query names in no way DuckDB could."""

_AS_OF = re.compile(
    rb"(?:for\s+system_time\s+)?as\s+of\s+(lsn|snapshot|timestamp|branch|tag)\s+"
    rb"('(?:[^']|'')*'|\d+)\s*",
    re.IGNORECASE,
)
_ALIAS = re.compile(rb'(?:as\s+)?("(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_]*)', re.IGNORECASE)
_EXPLICIT = re.compile(rb"as\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Moment:
    """When to read a table. Shape: `value` is the number or text that was written."""

    kind: MomentKind
    value: str


@dataclass(frozen=True, slots=True)
class ViewText:
    """What a view says.

    Shape: `texts` is its SQL, by dialect where it has several; `namespace` is that of the names in
           it that have none, `columns` what its own are called.
    """

    name: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    namespace: tuple[str, ...]
    catalog: str
    columns: tuple[str, ...]


ViewOf = Callable[[tuple[str, ...]], ViewText | None]
"""The view that a name means; None where it means none."""


@dataclass(frozen=True, slots=True)
class TableReference:
    """A table that a query reads.

    Shape: `levels` is the name as written, one to three parts; `relation` is the schema and name
           under which DuckDB will find it.
    """

    levels: tuple[str, ...]
    moment: Moment | None
    relation: tuple[str, str]


@dataclass(frozen=True, slots=True)
class QueryText:
    """A query as DuckDB is given it, and what it reads."""

    sql: str
    references: tuple[TableReference, ...]


def read_query(parser: duckdb.DuckDBPyConnection, sql: str, view_of: ViewOf) -> QueryText:
    """Take one SELECT apart, by the parser of a connection, with what views say in their place.

    Errors: LakeQueryError for anything but one SELECT that DuckDB can parse.
    """
    statements = _parsed(parser, _with_at_clauses(sql))
    if len(statements) != 1:
        raise LakeQueryError(f"the text holds {len(statements)} statements; one was expected")
    found: dict[tuple[tuple[str, ...], Moment | None], TableReference] = {}
    views = _expand_views(parser, statements[0], view_of, ())
    is_plain = not views
    nodes = list(_tables(statements[0], frozenset()))
    for node in nodes:
        levels, moment = _levels_of(node), _moment_of(parser, node)
        if (levels, moment) not in found:
            plain = moment is None and len(levels) == 2 and levels[0] != SCHEMA
            relation = levels if plain else (SCHEMA, f"table_{len(found)}")
            found[levels, moment] = TableReference(levels, moment, relation)  # type: ignore[arg-type]
            is_plain = is_plain and plain
    if is_plain:
        return QueryText(sql, tuple(found.values()))
    for node in nodes:
        reference = found[_levels_of(node), _moment_of(parser, node)]
        node["alias"] = node["alias"] or reference.levels[-1]
        node["catalog_name"], node["at_clause"] = "", None
        node["schema_name"], node["table_name"] = reference.relation
    _shorten_columns(statements[0], [*views, *(levels for levels, _ in found)])
    tree = json.dumps({"error": False, "statements": statements})
    [(text,)] = parser.execute("select json_deserialize_sql(?::json)", [tree]).fetchall()
    return QueryText(text, tuple(found.values()))


def _expand_views(
    parser: duckdb.DuckDBPyConnection, statement: Any, view_of: ViewOf, inside: tuple[Any, ...]
) -> list[tuple[str, ...]]:
    """Put a subquery in the place of each view of the tree; the names of these."""
    expanded: list[tuple[str, ...]] = []
    for node in list(_tables(statement, frozenset())):
        levels = _levels_of(node)
        view = view_of(levels)
        if view is None:
            continue
        expanded.append(levels)
        if view.name in inside:
            raise LakeQueryError(f"the view {'.'.join(view.name)} is made of itself")
        moment = _moment_of(parser, node)
        if moment is not None and moment.kind == "snapshot":
            raise LakeQueryError(
                f"the view {'.'.join(view.name)} has no snapshots",
                hint="it is read as of an LSN, a time, a branch or a tag",
            )
        said = _said_by(parser, view)
        for inner in _tables(said, frozenset()):
            _name_in_full(inner, view)
            if inner["at_clause"] is None:
                inner["at_clause"] = node["at_clause"]  # a view as of a moment, all of it
        expanded += _expand_views(parser, said, view_of, (*inside, view.name))
        columns = node["column_name_alias"] or list(view.columns)
        told = {
            "type": "SUBQUERY",
            "alias": node["alias"] or levels[-1],
            "sample": node["sample"],
            "query_location": node["query_location"],
            "subquery": said,
            "column_name_alias": columns,
        }
        node.clear()
        node.update(told)
    return expanded


def _said_by(parser: duckdb.DuckDBPyConnection, view: ViewText) -> Any:
    """The tree of a view's SELECT: that for DuckDB, or the first that it can parse."""
    texts = sorted(view.texts, key=lambda text: text[0].lower() != "duckdb")
    errors = []
    for dialect, sql in texts:
        try:
            statements = _parsed(parser, sql)
            if len(statements) == 1 and not statements[0]["named_param_map"]:
                return statements[0]
            errors.append(f"{dialect}: one SELECT without parameters was expected")
        except LakeQueryError as error:
            errors.append(f"{dialect}: {error}")
    raise LakeQueryError(
        f"the view {'.'.join(view.name)} cannot be read here ({'; '.join(errors)})",
        hint="give the view a representation in the dialect duckdb, too",
    )


def _name_in_full(node: Any, view: ViewText) -> None:
    levels = _levels_of(node)
    if len(levels) == 1:
        levels = (*view.namespace, *levels)
    elif len(levels) > 2 and levels[0] == view.catalog:
        levels = levels[1:]
    if len(levels) < 2:
        return
    node["catalog_name"] = ""
    node["schema_name"], node["table_name"] = ".".join(levels[:-1]), levels[-1]
    node["alias"] = node["alias"] or levels[-1]


def parsed_expression(parser: duckdb.DuckDBPyConnection, text: str) -> Any:
    """The tree of an expression; None where DuckDB cannot parse it."""
    try:
        [statement] = _parsed(parser, f"select 1 where {text}")
    except (LakeQueryError, ValueError):
        return None
    return statement["node"]["where_clause"]


def _parsed(parser: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    try:
        [(answer,)] = parser.execute("select json_serialize_sql(?)", [sql]).fetchall()
    except duckdb.Error as error:
        raise LakeQueryError(str(error)) from error
    told = json.loads(answer)
    if told["error"]:
        if told["error_type"] == "not implemented":
            raise LakeQueryError("one SELECT was expected: the lake is only read by queries")
        raise LakeQueryError(f"{told['error_message']} (at character {told.get('position', '?')})")
    statements: list[Any] = told["statements"]
    return statements


def _with_at_clauses(sql: str) -> str:
    """The text with each `AS OF ...` as the AT clause that DuckDB parses, behind the alias."""
    raw = sql.encode()
    tokens = duckdb.tokenize(sql)
    starts = {offset for offset, _ in tokens}
    names = {offset for offset, kind in tokens if kind == duckdb.token_type.identifier}
    made, done = bytearray(), 0
    for found in _AS_OF.finditer(raw):
        if found.start() not in starts or found.start(2) not in starts or found.start() < done:
            continue  # inside a text, a comment, a quoted name
        made += raw[done : found.start()]
        done = found.end()
        alias = _ALIAS.match(raw, done)
        if alias and (alias.start(1) in names or _EXPLICIT.match(raw, done)):
            made += alias[0] + b" "
            done = alias.end()
        kind = found[1].decode().lower()
        value = found[2].decode()
        value = value[1:-1] if value.startswith("'") else value
        made += f"AT (VERSION => '{kind}:{value}')".encode()
    return (bytes(made) + raw[done:]).decode() if done else sql


def _tables(node: Any, defined: frozenset[str]) -> Iterator[Any]:
    """Every table of the tree that is not the name of a WITH around it."""
    if isinstance(node, list):
        for item in node:
            yield from _tables(item, defined)
    elif isinstance(node, dict):
        if "cte_map" in node:
            defined |= {entry["key"].lower() for entry in node["cte_map"]["map"]}
        if node.get("type") == "BASE_TABLE" and "table_name" in node:
            levels = _levels_of(node)
            is_defined = len(levels) == 1 and levels[0].lower() in defined
            if not is_defined and levels[0].lower() not in ("information_schema", "pg_catalog"):
                yield node
        for value in node.values():
            yield from _tables(value, defined)


def _levels_of(node: Any) -> tuple[str, ...]:
    parts = (node["catalog_name"], node["schema_name"], node["table_name"])
    return tuple(part for part in parts if part)


def _moment_of(parser: duckdb.DuckDBPyConnection, node: Any) -> Moment | None:
    clause = node.get("at_clause")
    if clause is None:
        return None
    expression = clause["expr"]
    while expression["class"] == "CAST":
        expression = expression["child"]
    if expression["class"] != "CONSTANT":
        raise LakeQueryError("a number or a text was expected as the moment of a table")
    value = str(expression["value"]["value"])
    if clause["unit"].upper() == "TIMESTAMP":
        return Moment("timestamp", value)
    kind, _, named = value.partition(":")
    if named and kind in ("lsn", "snapshot", "timestamp", "branch", "tag"):
        return Moment(kind, named)  # type: ignore[arg-type]
    return Moment("snapshot", value)


def _shorten_columns(node: Any, tables: list[tuple[str, ...]]) -> None:
    """Leave the namespace out of `shop.orders.id`: only the table's alias is known by then."""
    if isinstance(node, list):
        for item in node:
            _shorten_columns(item, tables)
    elif isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            names = node["column_names"]
            for levels in tables:
                is_longer = len(names) > len(levels) > 1
                if is_longer and tuple(names[: len(levels)]) == levels:
                    node["column_names"] = names[len(levels) - 1 :]
                    break
        for value in node.values():
            _shorten_columns(value, tables)
