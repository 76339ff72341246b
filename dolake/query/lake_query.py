"""One query at a time: planned over the catalog, run by a DuckDB that may read nothing else."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from dolake.catalog.json_fields import Json
from dolake.catalog.pointers import TableIdentifier
from dolake.catalog.table_registry import LoadedTable, TableRegistry
from dolake.errors import LakeQueryError, LakeQueryTimeoutError, TableNotFoundError
from dolake.query.column_types import quoted_name, quoted_text
from dolake.query.object_access import allow_object_store
from dolake.query.query_text import SCHEMA, TableReference, parsed_expression, read_query
from dolake.query.scan_plan import (
    TablePlan,
    column_list,
    plan_table,
    scan_path,
    table_schema,
)
from dolake.query.table_moments import lsn_of, snapshot_at
from dolake.tables.snapshot_contents import (
    FileDeletes,
    SnapshotContents,
    load_contents,
    load_deletes,
)
from dolake.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Pending:
    """What is not committed yet of a table.

    Shape: `rows` has the table's columns; `replaced` the keys of the committed rows that no longer
           count, values by column; with `is_emptied` none of them counts.
    """

    rows: pa.Table
    replaced: Sequence[Mapping[str, Any]] = ()
    is_emptied: bool = False


PendingChanges = Callable[[TableIdentifier], Pending | None]
"""Gives what is pending of a table, None where nothing is. It is called from any thread."""

_Contents = tuple[SnapshotContents, Mapping[str, FileDeletes]]
_CONTENTS_KEPT_MAX = 32
_ATTEMPTS_MAX = 10
_BATCH_ROWS = 10_000
_OPTIMIZERS_OFF = "statistics_propagation,empty_result_pullup"


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query may take. Shape: `rows_max` 0 means any number of rows."""

    rows_max: int = 0
    seconds_max: float = 60.0
    memory_bytes_max: int = 1 << 30
    threads_max: int = 2


@dataclass(frozen=True, slots=True)
class TableRead:
    """What a query reads of one table. Shape: `lsn` is the source's, None for foreign tables."""

    identifier: TableIdentifier
    snapshot_id: int | None
    lsn: int | None
    plan: TablePlan
    pending_rows: int = 0
    pending_keys: int = 0

    def told(self) -> Json:
        """The same as plain values, file by file."""
        read = self.plan.files_read
        return {
            "table": list(self.identifier),
            "snapshot-id": self.snapshot_id,
            "lsn": self.lsn,
            "files": len(self.plan.files),
            "files-read": len(read),
            "bytes": sum(planned.file.file_bytes for planned in self.plan.files),
            "bytes-read": sum(planned.file.file_bytes for planned in read),
            "left-out-by-partition": self._left_out("partition"),
            "left-out-by-statistics": self._left_out("statistics"),
            "deleted-rows": sum(planned.deleted_rows for planned in read),
            "pending-rows": self.pending_rows,
            "read": [planned.file.file_path for planned in read],
        }

    def _left_out(self, reason: str) -> int:
        return sum(planned.left_out_by == reason for planned in self.plan.files)


@dataclass(slots=True)
class QueryResult:
    """The rows of a query as they come. Close it, or use it as a context manager.

    Shape: `is_cut` is true once more rows than allowed were there; it is known at the end.
    Errors: LakeQueryTimeoutError, LakeQueryError, while rows are taken.
    """

    schema: pa.Schema
    tables: tuple[TableRead, ...]
    batches: Iterator[pa.RecordBatch]
    is_cut: bool = False
    _close: Callable[[], None] = field(default=lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what the query holds."""
        self._close()

    def table(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(list(self.batches), self.schema)


class LakeQuery:
    """Queries over the tables of a catalog. Safe for any number of threads."""

    def __init__(self, registry: TableRegistry, pending: PendingChanges | None = None) -> None:
        self._registry = registry
        self._pending = pending
        self._read: OrderedDict[TableIdentifier, _Contents] = OrderedDict()
        self._lock = threading.Lock()
        # Texts are taken apart and planned on cursors of one DuckDB, which holds no rows.
        self._planning = threading.Lock()
        self._planner = _closed_duckdb(QueryLimits(), is_for_planning=True)

    def run(
        self, sql: str, parameters: Sequence[Any] = (), *, limits: QueryLimits | None = None
    ) -> QueryResult:
        """Run one SELECT over `namespace.table` names.

        Shape:  a table may stand `AS OF LSN 5`, `AS OF SNAPSHOT id`, `AS OF TIMESTAMP '...'`,
                `AS OF BRANCH 'name'` or `AS OF TAG 'name'`; without a moment what is not committed
                yet is part of the answer. `?` stands for parameters.
        Errors: LakeQueryError, TableNotFoundError, SnapshotNotFoundError, LsnNotInLakeError,
                LakeQueryTimeoutError.
        """
        limits = limits or QueryLimits()
        deadline = time.monotonic() + limits.seconds_max
        text, tables, relations = self._planned(sql, parameters)
        connection = _closed_duckdb(limits)
        try:
            self._fill(connection, tables, relations)
            timer = threading.Timer(max(0.0, deadline - time.monotonic()), connection.interrupt)
            timer.daemon = True
            timer.start()
        except BaseException:
            connection.close()
            raise

        def close() -> None:
            timer.cancel()
            connection.close()

        try:
            with _translated(limits):
                reader = connection.execute(text, list(parameters)).to_arrow_reader(_BATCH_ROWS)
        except BaseException:
            close()
            raise
        result = QueryResult(reader.schema, tuple(tables), iter(()), _close=close)
        result.batches = _limited(reader, limits, result)
        return result

    def explain(self, sql: str, parameters: Sequence[Any] = ()) -> list[Json]:
        """Which files of which tables the query would read, without running it."""
        _, tables, _ = self._planned(sql, parameters)
        return [table.told() for table in tables]

    def close(self) -> None:
        """Let go of the DuckDB that plans; results that are open stay so."""
        self._planner.close()

    # -- planning ----------------------------------------------------------------------------------

    def _planned(
        self, sql: str, parameters: Sequence[Any]
    ) -> tuple[str, list[TableRead], list[tuple[TableReference, Pending | None]]]:
        with self._planner.cursor() as planner:
            query = read_query(planner, sql)
        names = [self._identifier(reference.levels) for reference in query.references]
        loaded, pending = self._loaded(names)
        moments = [
            self._moment(table, reference)
            for table, reference in zip(loaded, query.references, strict=True)
        ]
        schemas = [schema for _, schema, _ in moments]
        with self._planning, self._planner.cursor() as planner:
            conditions = _conditions(planner, query.sql, parameters, query.references, schemas)
        tables, relations = [], []
        for number, reference in enumerate(query.references):
            table = loaded[number]
            snapshot, schema, (contents, deletes) = moments[number]
            plan = plan_table(
                self._registry.warehouse,
                table.metadata,
                schema,
                contents,
                deletes,
                conditions.get(reference.relation, ()),
                _deleted_relation(reference),
            )
            own = pending[number] if reference.moment is None else None
            tables.append(
                TableRead(
                    table.identifier,
                    None if snapshot is None else snapshot["snapshot-id"],
                    lsn_of(table.metadata, snapshot),
                    plan,
                    0 if own is None else own.rows.num_rows,
                    0 if own is None else len(own.replaced),
                )
            )
            relations.append((reference, own))
        return query.sql, tables, relations

    def _identifier(self, levels: tuple[str, ...]) -> TableIdentifier:
        """The table that a name means: dots in a part may stand for levels of a namespace."""
        pointers = self._registry.pointers
        if len(levels) == 1:
            namespaces = pointers.namespaces()
            if len(namespaces) != 1:
                raise LakeQueryError(
                    f"{levels[0]!r} names no namespace, and the lake has {len(namespaces)} of them",
                    hint="write namespace.table",
                )
            levels = (*namespaces[0], *levels)
        split = (*(part for level in levels[:-1] for part in level.split(".")), levels[-1])
        for candidate in (levels, split):
            pointer = pointers.find(candidate)
            if pointer is not None and pointer.kind == "table":
                return candidate
        raise TableNotFoundError(f"there is no table {'.'.join(levels)!r}")

    def _loaded(
        self, names: Sequence[TableIdentifier]
    ) -> tuple[list[LoadedTable], list[Pending | None]]:
        """Tables of one moment, each with what is not committed on top of just that."""
        before = self._registry.load_tables(names)
        if self._pending is None:
            return before, [None] * len(names)
        for _ in range(_ATTEMPTS_MAX):
            pending = [self._pending(name) for name in names]
            after = self._registry.load_tables(names)
            if [table.metadata_location for table in before] == [
                table.metadata_location for table in after
            ]:
                return after, pending
            before = after  # a flush came in between: what was pending may be committed by now
        return before, [None] * len(names)

    def _moment(
        self, table: LoadedTable, reference: TableReference
    ) -> tuple[Json | None, Json, _Contents]:
        def siblings() -> Iterable[Json]:
            for name in self._registry.list_tables(table.identifier[:-1]):
                yield self._registry.load_table(name).metadata

        snapshot = snapshot_at(table.metadata, reference.moment, siblings)
        schema = table_schema(table.metadata, snapshot, is_past=reference.moment is not None)
        return snapshot, schema, self._contents_of(table, snapshot)

    def _contents_of(self, table: LoadedTable, snapshot: Json | None) -> _Contents:
        """The files of a snapshot; what was read last of each table is kept."""
        with self._lock:
            known = self._read.get(table.identifier)
        wanted = None if snapshot is None else snapshot["snapshot-id"]
        if known is not None and wanted is not None and known[0].snapshot_id == wanted:
            return known
        warehouse = self._registry.warehouse
        contents = load_contents(warehouse, snapshot, None if known is None else known[0])
        read = contents, load_deletes(warehouse, contents)
        with self._lock:
            self._read[table.identifier] = read
            self._read.move_to_end(table.identifier)
            while len(self._read) > _CONTENTS_KEPT_MAX:
                self._read.popitem(last=False)
        return read

    def _fill(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: Sequence[TableRead],
        relations: Sequence[tuple[TableReference, Pending | None]],
    ) -> None:
        """Give DuckDB the relations that the query names, and lock it."""
        warehouse = self._registry.warehouse
        allow_object_store(connection, warehouse)
        paths = {
            scan_path(warehouse, planned.file.file_path)
            for table in tables
            for planned in table.plan.files_read
        }
        connection.execute(f"SET allowed_paths = [{', '.join(map(quoted_text, sorted(paths)))}]")
        connection.execute("SET enable_external_access = false")
        for table in tables:
            _check_field_ids(connection, warehouse, table)
        for schema in {SCHEMA} | {reference.relation[0] for reference, _ in relations}:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted_name(schema)}")
        for table, (reference, pending) in zip(tables, relations, strict=True):
            if table.plan.deleted is not None:
                _store(connection, _deleted_relation(reference), table.plan.deleted)
            sql = table.plan.sql
            if pending is not None:
                sql = _with_pending(connection, table, reference, pending)
            relation = ".".join(map(quoted_name, reference.relation))
            connection.execute(f"CREATE VIEW {relation} AS {sql}")
        connection.execute("SET lock_configuration = true")


def _conditions(
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
            raise LakeQueryError(_message(error)) from error
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


def _closed_duckdb(
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


def _check_field_ids(
    connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, table: TableRead
) -> None:
    """Refuse files whose columns have no ids, which would seem to hold nothing but NULL.

    Only a table that other engines have added existing files to can have such files, and they give
    it a mapping of names.
    """
    paths = [scan_path(warehouse, planned.file.file_path) for planned in table.plan.files_read]
    if not table.plan.has_name_mapping or not paths:
        return
    found = connection.execute(
        f"SELECT file_name FROM parquet_schema([{', '.join(map(quoted_text, paths))}]) "
        "GROUP BY file_name HAVING count(field_id) = 0 LIMIT 1"
    ).fetchone()
    if found is not None:
        raise LakeQueryError(
            f"the columns of {found[0]} have no field ids: it was added as it was, and queries "
            "cannot read it",
            hint="rewrite the table's files, or read it with the engine that added them",
        )


def _deleted_relation(reference: TableReference) -> str:
    return f"{SCHEMA}.{quoted_name('deleted of ' + '.'.join(reference.relation))}"


def _store(connection: duckdb.DuckDBPyConnection, relation: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE {relation} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def _with_pending(
    connection: duckdb.DuckDBPyConnection,
    table: TableRead,
    reference: TableReference,
    pending: Pending,
) -> str:
    """The committed rows, less those that pending ones replace, and the pending ones."""
    rows, names = pending.rows, [item["name"] for item in table.plan.schema["fields"]]
    about = ".".join(reference.relation)
    staged = f"{SCHEMA}.{quoted_name('pending of ' + about)}"
    _store(connection, staged, rows)
    committed = f"SELECT * FROM ({table.plan.sql}) AS committed"
    if pending.is_emptied:
        committed += " WHERE false"
    elif pending.replaced:
        replaced = f"{SCHEMA}.{quoted_name('replaced of ' + about)}"
        keys, conditions = {}, []
        for name in pending.replaced[0]:
            keys[name], column = _key_column([key[name] for key in pending.replaced], name)
            conditions.append(f"replaced.{quoted_name(name)} = {column}")
        _store(connection, replaced, pa.table(keys))
        committed += (
            f" WHERE NOT EXISTS (SELECT 1 FROM {replaced} AS replaced "
            f"WHERE {' AND '.join(conditions)})"
        )
    chosen = ", ".join(
        quoted_name(name) if name in rows.column_names else f"NULL AS {quoted_name(name)}"
        for name in names
    )
    return f"{committed} UNION ALL SELECT {chosen} FROM {staged}"


def _key_column(values: list[Any], name: str) -> tuple[pa.Array, str]:
    """Values of one column of a key, and the committed column as it is compared with them.

    DuckDB converts what it compares, such as a date written as text; a column of SQLite's that
    holds values of several types is compared as text.
    """
    column = f"committed.{quoted_name(name)}"
    try:
        return pa.array(values), column
    except pa.ArrowException:
        return pa.array([str(value) for value in values]), f"{column}::VARCHAR"


def _limited(
    reader: pa.RecordBatchReader, limits: QueryLimits, result: QueryResult
) -> Iterator[pa.RecordBatch]:
    left = limits.rows_max
    with _translated(limits):
        for batch in reader:
            if not limits.rows_max:
                yield batch
                continue
            if batch.num_rows > left:
                result.is_cut = True
                if left:
                    yield batch.slice(0, left)
                return
            left -= batch.num_rows
            yield batch


@contextlib.contextmanager
def _translated(limits: QueryLimits) -> Iterator[None]:
    """DuckDB's errors as ours."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in str(error):
            raise LakeQueryTimeoutError(
                f"the query took more than {limits.seconds_max} seconds"
            ) from error
        raise LakeQueryError(_message(error)) from error


def _message(error: Exception) -> str:
    """What DuckDB says, without the text of the query: that is not quite what was sent."""
    return str(error).partition("\n\nLINE ")[0]
