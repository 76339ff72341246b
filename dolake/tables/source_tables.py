"""All tables of one branch of a source: batches of changes go in, snapshots of all come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableChange, TableRegistry
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
    CommitConflictError,
    FlushError,
    LakeSchemaMismatchError,
    ObjectNotFoundError,
)
from dolake.tables.joint_commits import JointCommits
from dolake.tables.lake_table import BRANCH, COMMIT, LSN, SOURCE, LakeTable, watermarked_snapshot
from dolake.tables.mirror import Mirror
from dolake.tables.source_namespace import SourceNamespace
from dolake.tables.staged_table import StagedTable
from dolake.tables.table_options import TableOptions
from dolake.warehouse import Warehouse

_ATTEMPTS_MAX = 10


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
        self._namespace = SourceNamespace(registry, warehouse, source, self.options)
        self._mirrors, self._logs = self._namespace.mirrors, self._namespace.logs
        self._commits = JointCommits(registry)
        self._staged_lsn: int | None = None
        self._row_count = 0
        newest = max(self._namespace.tables, key=lambda t: t.table.watermark(), default=None)
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
        return self._namespace.mirror(table)

    def pending(self, table: str) -> tuple[pa.Table, list[dict[str, SqlValue]]]:
        """Rows of a table not yet committed, and the keys of the committed rows they replace.

        Shape: the rows have the mirror's columns; keys of deleted rows are among the keys.
        """
        return self.mirror(table).staged.pending()

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
        self._commits.follow_others(self._namespace.tables)
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
        copied: list[StagedTable] = []
        try:
            for schema, batches in tables:
                mirror = self._namespace.mirror_for(schema)
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
                table.failed()
            raise
        self._commits.commit(copied, changes)
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
            mirror.staged.stage_row(change)
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
                before = self._namespace.mirror_for(after).staged.layout.key_names
                if names.get(after.table, before) != after.key_columns:
                    emptied.add(after.table)
                names[after.table] = after.key_columns
                continue
            if table in emptied and table not in self._mirrors:
                continue
            if table not in names:
                names[table] = self.mirror(table).staged.layout.key_names
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

    def fork_from(self, parent_branch: str, lsn: int) -> int:
        """As `SourceNamespace.fork_from`; our changes go on after the LSN that it gives."""
        self._watermark = self._namespace.fork_from(parent_branch, lsn)
        return self._watermark

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
                tables = self._namespace.tables
                self._commits.follow_others(tables)
                prepared = self._commits.commit_staged(tables, summary)
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

    def _settle_doubts(self) -> None:
        """Find out whether a commit that ended in an error was made, before there is another."""
        made = self._commits.settle()
        if made:
            self._watermark = max(each.table.watermark() for each in made)
            self._row_count = sum(len(m.staged.rows) for m in self._mirrors.values())
            if self._staged_lsn is not None and self._staged_lsn <= self._watermark:
                self._staged_lsn = None

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
