"""One query at a time: planned over the catalog, run by a DuckDB that may read nothing else."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.json_fields import Json
from dolake.catalog.table_registry import LoadedTable, TableRegistry
from dolake.errors import LakeQueryError, LsnNotInLakeError
from dolake.query.change_replay import replayed_until
from dolake.query.column_types import quoted_name, quoted_text
from dolake.query.lake_names import LakeNames
from dolake.query.object_access import allow_object_store
from dolake.query.pending_rows import Pending, PendingChanges, store_rows, with_pending
from dolake.query.query_result import (
    QueryLimits,
    QueryResult,
    TableRead,
    limited_batches,
    translated_errors,
)
from dolake.query.query_text import SCHEMA, TableReference, read_query
from dolake.query.scan_conditions import closed_duckdb, scan_conditions
from dolake.query.scan_plan import plan_table, scan_path, table_schema
from dolake.query.table_moments import lsn_of, snapshot_at
from dolake.tables.snapshot_contents import (
    FileDeletes,
    SnapshotContents,
    load_contents,
    load_deletes,
)
from dolake.warehouse import Warehouse

_Contents = tuple[SnapshotContents, Mapping[str, FileDeletes]]
_CONTENTS_KEPT_MAX = 32
_ATTEMPTS_MAX = 10
_BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a reference reads: a snapshot, and changes beside it where none is of just that LSN."""

    snapshot: Json | None
    schema: Json
    contents: _Contents
    lsn: int | None
    replayed: Pending | None


class LakeQuery:
    """Queries over the tables of a catalog. Safe for any number of threads."""

    def __init__(self, registry: TableRegistry, pending: PendingChanges | None = None) -> None:
        self._registry = registry
        self._names = LakeNames(registry)
        self._pending = pending
        self._read: OrderedDict[TableIdentifier, _Contents] = OrderedDict()
        self._lock = threading.Lock()
        # Texts are taken apart and planned on cursors of one DuckDB, which holds no rows.
        self._planning = threading.Lock()
        self._planner = closed_duckdb(QueryLimits(), is_for_planning=True)

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
        connection = closed_duckdb(limits)
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
            with translated_errors(limits):
                reader = connection.execute(text, list(parameters)).to_arrow_reader(_BATCH_ROWS)
        except BaseException:
            close()
            raise
        result = QueryResult(reader.schema, tuple(tables), iter(()), _close=close)
        result.batches = limited_batches(reader, limits, result)
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
            query = read_query(planner, sql, self._names.view)
        names = [self._names.table(reference.levels) for reference in query.references]
        loaded, pending = self._loaded(names)
        moments = [
            self._moment(table, reference)
            for table, reference in zip(loaded, query.references, strict=True)
        ]
        schemas = [moment.schema for moment in moments]
        with self._planning, self._planner.cursor() as planner:
            conditions = scan_conditions(planner, query.sql, parameters, query.references, schemas)
        tables, relations = [], []
        for number, reference in enumerate(query.references):
            table, at = loaded[number], moments[number]
            plan = plan_table(
                self._registry.warehouse,
                table.metadata,
                at.schema,
                *at.contents,
                conditions.get(reference.relation, ()),
                _deleted_relation(reference),
            )
            own = pending[number] if reference.moment is None else at.replayed
            tables.append(
                TableRead(
                    table.identifier,
                    None if at.snapshot is None else at.snapshot["snapshot-id"],
                    at.lsn,
                    plan,
                    0 if own is None else own.rows.num_rows,
                    0 if own is None else len(own.replaced),
                )
            )
            relations.append((reference, own))
        return query.sql, tables, relations

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

    def _moment(self, table: LoadedTable, reference: TableReference) -> _Moment:
        def siblings() -> Iterable[Json]:
            for name in self._registry.list_tables(table.identifier[:-1]):
                yield self._registry.load_table(name).metadata

        moment, replayed = reference.moment, None
        try:
            snapshot = snapshot_at(table.metadata, moment, siblings)
            schema = table_schema(table.metadata, snapshot, is_past=moment is not None)
            lsn = lsn_of(table.metadata, snapshot)
        except LsnNotInLakeError:
            assert moment is not None
            lsn = int(moment.value)
            told = replayed_until(self._registry, table, lsn, self._rows_of)
            if told is None:
                raise
            snapshot, schema, replayed = told
        return _Moment(snapshot, schema, self._contents_of(table, snapshot), lsn, replayed)

    def _rows_of(self, sql: str) -> pa.Table:
        with self.run(sql) as result:
            return result.table()

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
                store_rows(connection, _deleted_relation(reference), table.plan.deleted)
            sql = table.plan.sql
            if pending is not None:
                sql = with_pending(connection, table, reference, pending)
            relation = ".".join(map(quoted_name, reference.relation))
            connection.execute(f"CREATE VIEW {relation} AS {sql}")
        connection.execute("SET lock_configuration = true")


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
