"""All tables of one branch of a source: batches of changes go in, snapshots of all come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import LoadedTable, TableChange, TableRegistry
from dolake.changes import (
    ROWID_KEY,
    Batch,
    RowChange,
    SchemaChange,
    SourceCommit,
    SqlValue,
    TableSchema,
)
from dolake.errors import (
    AlreadyExistsError,
    CommitConflictError,
    FlushError,
    LakeSchemaMismatchError,
    ObjectNotFoundError,
)
from dolake.tables.branch_forks import fork_changes
from dolake.tables.change_log import ChangeLog, cdc_schema_fields, change_log_layout
from dolake.tables.lake_table import (
    BRANCH,
    CHANGE_LOG,
    CHANGE_LOG_SUFFIX,
    COMMIT,
    LAYOUT,
    LSN,
    MIRROR,
    ROLE,
    SOURCE,
    TABLE,
    LakeTable,
    sort_order,
    watermarked_snapshot,
)
from dolake.tables.mirror import Mirror
from dolake.tables.partitioning import partition_spec
from dolake.tables.schema_mapping import (
    Layout,
    assign_ids,
    new_layout,
    settled,
)
from dolake.tables.table_options import TableOptions
from dolake.warehouse import Warehouse

_ATTEMPTS_MAX = 10
_EMPTY_SCHEMA: dict[str, Any] = {"type": "struct", "schema-id": 0, "fields": []}


@dataclass(frozen=True, slots=True)
class FlushResult:
    """What a flush committed.

    Shape: `lsn` is the watermark from now on; `tables` got a snapshot each; `conflicts` counts the
           times that other writers' commits came first.
    """

    lsn: int
    rows: int
    tables: tuple[TableIdentifier, ...]
    conflicts: int = 0


class SourceTables:
    """The tables of one branch of one source, in one namespace. Not safe for several threads."""

    def __init__(
        self,
        registry: TableRegistry,
        warehouse: Warehouse,
        source: str,
        options: TableOptions | None = None,
    ) -> None:
        self.registry = registry
        self.warehouse = warehouse
        self.source = source
        self.options = options or TableOptions()
        self.namespace = self.options.namespace or (source,)
        self._mirrors: dict[str, Mirror] = {}
        self._logs: dict[str, ChangeLog] = {}
        self._staged_lsn: int | None = None
        self._row_count = 0
        self.last_commit: SourceCommit | None = None
        self._in_doubt: list[Mirror | ChangeLog] = []
        for levels in range(1, len(self.namespace) + 1):
            registry.namespaces.create(self.namespace[:levels], if_not_exists=True)
        for identifier in registry.list_tables(self.namespace):
            self._open(registry.load_table(identifier))
        newest = max(self._all(), key=lambda t: t.table.watermark(), default=None)
        self._watermark = 0 if newest is None else newest.table.watermark()
        self.last_commit = None if newest is None else _commit_of(newest.table)

    # -- what is there -----------------------------------------------------------------------------

    @property
    def watermark(self) -> int:
        """The last LSN committed in Iceberg; 0 when none is."""
        return self._watermark

    @property
    def staged_lsn(self) -> int:
        """The LSN up to which changes have been taken in, committed or not."""
        return self._watermark if self._staged_lsn is None else self._staged_lsn

    @property
    def staged_rows(self) -> int:
        """How many changes are staged."""
        return self._row_count

    @property
    def staged_bytes(self) -> int:
        """About how much memory what is staged takes. Units: bytes."""
        return sum(m.staged.nbytes for m in self._mirrors.values()) + sum(
            log.staged_bytes for log in self._logs.values()
        )

    @property
    def index_bytes(self) -> int:
        """Memory of the indexes of keys. Units: bytes."""
        return sum(m.files.index_bytes for m in self._mirrors.values())

    @property
    def tables(self) -> tuple[str, ...]:
        """Names, in the source, of the tables that are mirrored."""
        return tuple(self._mirrors)

    def mirror(self, table: str) -> Mirror:
        """The mirror of a table. Errors: LakeSchemaMismatchError when there is none."""
        try:
            return self._mirrors[table]
        except KeyError:
            raise LakeSchemaMismatchError(
                f"there is no mirror of {table!r}: its schema was never sent"
            ) from None

    def pending(self, table: str) -> tuple[pa.Table, list[dict[str, SqlValue]]]:
        """Rows of a table not yet committed, and the keys of the committed rows they replace.

        Shape: the rows have the mirror's columns; keys of deleted rows are among the keys.
        """
        return self.mirror(table).pending()

    def _all(self) -> list[Mirror | ChangeLog]:
        return [*self._mirrors.values(), *self._logs.values()]

    def _open(self, loaded: LoadedTable) -> None:
        properties = loaded.metadata.get("properties") or {}
        branch = self.options.branch
        name = properties.get(TABLE)
        layout = LAYOUT if branch == "main" else f"{LAYOUT}.{branch}"
        if properties.get(SOURCE) != self.source or name is None or layout not in properties:
            return
        types = self.options.column_types.get(name, {})
        if properties.get(ROLE) == MIRROR:
            self._mirrors[name] = Mirror(self.warehouse, loaded, branch, types)
        elif properties.get(ROLE) == CHANGE_LOG:
            self._logs[name] = ChangeLog(self.warehouse, loaded, branch, types)

    def build_indexes(self) -> None:
        """Read the keys of all tables now; else each is read when its first change comes."""
        for mirror in self._mirrors.values():
            mirror.files.build_index()

    # -- taking in ---------------------------------------------------------------------------------

    def initial_copy(
        self,
        lsn: int,
        tables: Iterable[tuple[TableSchema, Iterable[pa.RecordBatch]]],
        *,
        keeps_others: bool = False,
        committed_at: int | None = None,
    ) -> None:
        """Commit whole tables as they are in the source as of an LSN, in place of what is there.

        Shape: a batch's columns have the names and SQLite's values of the table's, in any Arrow
               type; `_rowid_` holds the rowids of a table without a primary key. Change logs
               begin after the copy. Mirrors of tables that are not copied are emptied, as those of
               dropped ones are, unless `keeps_others`. A copy of an older state than the watermark
               goes back to it with all tables, which change logs cannot.
        Errors: FlushError when it could not be committed, CommitConflictError when somebody else
                wrote to one of the tables meanwhile.
        """
        self._settle_doubts()
        self._follow_others()
        before, goes_back = self.last_commit, lsn < self._watermark
        if goes_back and self._logs:
            raise LakeSchemaMismatchError(
                f"change logs go up to LSN {self._watermark}, and a copy as of LSN {lsn} would go "
                "back",
                hint="give the source another name in the lake: --name",
            )
        self.last_commit = None if committed_at is None else SourceCommit(lsn, committed_at)
        summary = self._summary(lsn)
        changes: list[TableChange] = []
        copied: list[Mirror | ChangeLog] = []
        try:
            for schema, batches in tables:
                mirror = self._mirror_for(schema)
                change = mirror.prepare_copy(
                    schema, batches, summary, self.options.rows_per_file_max
                )
                copied.append(mirror)
                changes.append(change)
            others = {} if keeps_others and not goes_back else dict(self._mirrors)
            for name, mirror in others.items():
                holds_rows = mirror.has_changes or mirror.table.contents.data_files()
                if mirror not in copied and (holds_rows or goes_back):
                    mirror.stage_schema(SchemaChange(lsn, 0, 0, name, None, None))
                    gone = mirror.prepare(summary)
                    if gone is not None:
                        copied.append(mirror)
                        changes.append(gone)
        except BaseException:
            self.last_commit = before
            for table in copied:
                table.failed(is_certain=True)
            raise
        self._commit(copied, changes)
        self._watermark, self._staged_lsn, self._row_count = lsn, None, 0

    def stage(self, batch: Batch) -> None:
        """Take in whole commits, in memory: all of the batch, or nothing of it where it fails.

        Shape:  commits already taken in are passed over. A table seen for the first time is made in
                the catalog here.
        Errors: LakeSchemaMismatchError when commits between are missing, or a change does not fit
                its table. After a flush that failed, whatever finding out about it raises.
        """
        self._settle_doubts()
        known = self.staged_lsn
        if batch.last_lsn <= known:
            return
        if batch.after_lsn > known and known:
            raise LakeSchemaMismatchError(
                f"a batch begins after LSN {batch.after_lsn}; the one after {known} was expected",
                code="CDC_LSN_NOT_FOUND",
            )
        changes = [change for change in batch.changes if change.lsn > known]
        self._check(changes)
        logs = self._logs
        mirrors = self._mirrors
        for change in changes:
            if isinstance(change, SchemaChange):
                self._stage_schema(change)
                continue
            mirror = mirrors.get(change.table)
            if mirror is None:
                continue  # of a table that was dropped before we ever saw it
            mirror.stage_row(change)
            if logs:
                self._log_row(change)
            self._row_count += 1
        self._staged_lsn = batch.last_lsn
        if changes:
            self.last_commit = SourceCommit(changes[-1].lsn, changes[-1].committed_at)

    def _check(self, changes: Sequence[RowChange | SchemaChange]) -> None:
        """Find out whether all of these can be staged, and make the tables they need.

        Errors: LakeSchemaMismatchError, and what the catalog raises.
        """
        names: dict[str, tuple[str, ...]] = {}
        emptied = {name for name, mirror in self._mirrors.items() if mirror.staged.is_emptied}
        for change in changes:
            table = change.table
            if isinstance(change, SchemaChange):
                after = change.after
                if after is None:
                    emptied.add(table)
                    continue
                if after.table != table and table in self._mirrors:
                    raise LakeSchemaMismatchError(
                        f"{table} became {after.table}: a renamed table is dropped and made anew"
                    )
                before = self._mirror_for(after).staged_layout.key_names
                if names.get(after.table, before) != after.key_columns:
                    emptied.add(after.table)
                names[after.table] = after.key_columns
                continue
            if table in emptied and table not in self._mirrors:
                continue
            if table not in names:
                names[table] = self.mirror(table).staged_layout.key_names
            wanted, key = names[table], change.key
            if len(key) == len(wanted) and all(name in key for name in wanted):
                continue
            # A row whose primary key is NULL is told by its rowid; one that went with all others
            # when its table changed its key is told by the old key.
            if ROWID_KEY not in key and not (change.operation == "delete" and table in emptied):
                raise LakeSchemaMismatchError(
                    f"a change of {table} has the key {', '.join(key)}; the table's is "
                    f"{', '.join(wanted)}"
                )

    def _log_row(self, change: RowChange) -> None:
        log = self._logs.get(change.table)
        if log is not None:
            log.stage_row(change)

    def _stage_schema(self, change: SchemaChange) -> None:
        name = change.table
        if name not in self._mirrors:
            return  # dropped before we ever saw it
        self._mirrors[name].stage_schema(change)
        if name in self._logs:
            self._logs[name].stage_schema(change)

    def _mirror_for(self, schema: TableSchema) -> Mirror:
        """The mirror of a table, and its change log where wanted; made when there is none."""
        name = schema.table
        if name not in self._mirrors:
            types = self.options.column_types.get(name, {})
            loaded, layout = self._made(
                schema,
                (*self.namespace, name),
                MIRROR,
                new_layout(schema, types),
                self.options.partition_by.get(name, ()),
            )
            self._mirrors[name] = Mirror(self.warehouse, loaded, self.options.branch, types, layout)
        if self.options.has_change_log and name not in self._logs:
            types = self.options.column_types.get(name, {})
            loaded, layout = self._made(
                schema,
                (*self.namespace, f"{name}{CHANGE_LOG_SUFFIX}"),
                CHANGE_LOG,
                change_log_layout(schema, types),
                self.options.change_log_partition_by.get(name, ()),
            )
            self._logs[name] = ChangeLog(self.warehouse, loaded, self.options.branch, types, layout)
        return self._mirrors[name]

    def _made(
        self,
        table: TableSchema,
        identifier: TableIdentifier,
        role: str,
        wanted: Layout,
        partition_fields: Sequence[str],
    ) -> tuple[LoadedTable, Layout | None]:
        """A new Iceberg table, or that of other branches, where ours has no columns yet."""
        layout, schema, last_id = assign_ids(wanted, _EMPTY_SCHEMA, 0, ())
        schema["schema-id"] = 0
        if role == CHANGE_LOG:
            schema["fields"] += cdc_schema_fields(last_id + 1)
        branch = self.options.branch
        sorting = self.options.sort_by.get(table.table, ()) if role == MIRROR else ()
        properties = {
            "format-version": str(self.options.format_version),
            "write.parquet.compression-codec": "zstd",
            # A metadata file for every flush: those that the newest no longer names go with it.
            "write.metadata.delete-after-commit.enabled": "true",
            SOURCE: self.source,
            TABLE: table.table,
            ROLE: role,
        }
        if branch == "main":
            properties[LAYOUT] = settled(layout).to_property()
        try:
            loaded = self.registry.create_table(
                identifier,
                schema,
                partition_spec=partition_spec(partition_fields, schema),
                sort_order=sort_order(sorting, schema),
                properties=properties,
            )
        except AlreadyExistsError:
            loaded = self.registry.load_table(identifier)
            told = loaded.metadata.get("properties") or {}
            if (told.get(SOURCE), told.get(TABLE), told.get(ROLE)) != (
                self.source,
                table.table,
                role,
            ):
                raise
        return loaded, None if branch == "main" and LAYOUT in loaded.metadata.get(
            "properties", {}
        ) else Layout(table.table, ())

    def fork_from(self, parent_branch: str, lsn: int) -> int:
        """Begin our branch where another was at an LSN; the LSN after which changes are wanted.

        Shape: that LSN is the newest flush of the parent not after `lsn`. A fork's stream of
               changes begins with its parent's commits, so it can be read from there on.
        Errors: SnapshotNotFoundError when the snapshots of that time have expired.
        """
        tables = [
            self.registry.load_table(name) for name in self.registry.list_tables(self.namespace)
        ]
        forked, begin = fork_changes(tables, self.source, self.options.branch, parent_branch, lsn)
        for loaded in self.registry.commit(forked):
            self._open(loaded)
        self._watermark = begin
        return begin

    # -- committing --------------------------------------------------------------------------------

    def flush(self) -> FlushResult:
        """Commit all that is staged, in every table or in none, with the watermark.

        Errors: FlushError when it could not be committed: everything is staged as before. What the
                object store raises while files are written comes as it is, and nothing is lost
                either.
        """
        self._settle_doubts()
        if self._staged_lsn is None:
            return FlushResult(self._watermark, 0, ())
        lsn, summary = self._staged_lsn, self._summary(self._staged_lsn)
        conflicts = 0
        while True:
            try:
                self._follow_others()
                prepared = self._prepare_and_commit(summary)
                break
            except (CommitConflictError, ObjectNotFoundError) as error:
                # Another commit came first, or took away files that we were reading.
                conflicts += 1
                if conflicts == _ATTEMPTS_MAX:
                    raise FlushError(
                        f"other writers came first {conflicts} times in a row: {error}"
                    ) from error
        result = FlushResult(
            lsn, self._row_count, tuple(t.table.identifier for t in prepared), conflicts
        )
        self._watermark, self._staged_lsn, self._row_count = lsn, None, 0
        return result

    def _follow_others(self) -> None:
        """Take in what others committed to our tables since we last looked."""
        for table in self._all():
            loaded = self.registry.load_table(table.table.identifier)
            if loaded.metadata is not table.table.metadata:
                table.follow(loaded)

    def _prepare_and_commit(self, summary: Mapping[str, str]) -> list[Mirror | ChangeLog]:
        """One attempt to commit what is staged; the tables that got a snapshot."""
        prepared: list[Mirror | ChangeLog] = []
        changes: list[TableChange] = []
        try:
            for table in self._all():
                change = table.prepare(summary)
                if change is not None:
                    prepared.append(table)
                    changes.append(change)
        except BaseException:
            for table in prepared:
                table.failed(is_certain=True)
            raise
        self._commit(prepared, changes)
        return prepared

    def _commit(self, prepared: list[Mirror | ChangeLog], changes: list[TableChange]) -> None:
        if not changes:
            return
        try:
            loaded = self.registry.commit(changes)
        except CommitConflictError:
            for table in prepared:
                table.failed(is_certain=True)
            raise
        except BaseException as error:
            # It may have been made all the same: `_settle_doubts` looks before anything else.
            self._in_doubt = prepared
            if isinstance(error, Exception):
                raise FlushError(f"the commit failed: {error}") from error
            raise
        for table, now in zip(prepared, loaded, strict=True):
            table.committed(now)

    def _settle_doubts(self) -> None:
        """Find out whether a commit that ended in an error was made, before there is another."""
        doubtful, loaded = self._in_doubt, []
        for table in doubtful:
            loaded.append(self.registry.load_table(table.table.identifier))
        if not doubtful:
            return
        snapshots = {s["snapshot-id"] for s in loaded[0].metadata.get("snapshots") or ()}
        self._in_doubt = []
        if doubtful[0].prepared_snapshot_id in snapshots:
            for table, now in zip(doubtful, loaded, strict=True):
                table.committed(now)
                table.follow(now)
            self._watermark = max(t.table.watermark() for t in doubtful)
            self._row_count = sum(len(m.staged.rows) for m in self._mirrors.values())
            if self._staged_lsn is not None and self._staged_lsn <= self._watermark:
                self._staged_lsn = None
        else:
            for table, now in zip(doubtful, loaded, strict=True):
                table.failed(is_certain=True)
                table.follow(now)

    def _summary(self, lsn: int) -> dict[str, str]:
        told = {SOURCE: self.source, BRANCH: self.options.branch, LSN: str(lsn)}
        if self.last_commit is not None:
            told[COMMIT] = f"{self.last_commit.lsn}@{self.last_commit.committed_at}"
        return told


def _commit_of(table: LakeTable) -> SourceCommit | None:
    """The commit that the newest snapshot tells of."""
    snapshot = watermarked_snapshot(table.metadata, table.ref)
    told = None if snapshot is None else snapshot["summary"].get(COMMIT)
    if told is None:
        return None
    lsn, _, committed_at = told.partition("@")
    return SourceCommit(int(lsn), int(committed_at))
