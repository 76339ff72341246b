"""Snapshots of several tables, committed together or not at all.

A commit that ends in an error may have been made all the same: its tables are in doubt until
`settle` has found out, which comes before anything else is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dolake.catalog.table_registry import TableChange, TableRegistry
from dolake.errors import CommitConflictError, FlushError
from dolake.tables.staged_table import StagedTable


class JointCommits:
    """The commits of the tables of one branch of a source, one after another."""

    def __init__(self, registry: TableRegistry) -> None:
        self._registry = registry
        self._in_doubt: list[StagedTable] = []

    def follow_others(self, tables: Iterable[StagedTable]) -> None:
        """Take in what others committed to these tables since we last looked."""
        for table in tables:
            loaded = self._registry.load_table(table.table.identifier)
            if loaded.metadata is not table.table.metadata:
                table.follow(loaded)

    def commit_staged(
        self, tables: Iterable[StagedTable], summary: Mapping[str, str]
    ) -> list[StagedTable]:
        """Commit what is staged in these tables; those that got a snapshot by that.

        Errors: as `commit`; what the object store raises while files are written.
        """
        prepared: list[StagedTable] = []
        changes: list[TableChange] = []
        try:
            for table in tables:
                change = table.prepare(summary)
                if change is not None:
                    prepared.append(table)
                    changes.append(change)
        except BaseException:
            for table in prepared:
                table.failed()
            raise
        self.commit(prepared, changes)
        return prepared

    def commit(self, prepared: list[StagedTable], changes: list[TableChange]) -> None:
        """Commit what these tables have prepared.

        Errors: CommitConflictError when another commit came first; FlushError for any other.
        """
        if not changes:
            return
        try:
            loaded = self._registry.commit(changes)
        except CommitConflictError:
            for table in prepared:
                table.failed()
            raise
        except BaseException as error:
            self._in_doubt = prepared
            if isinstance(error, Exception):
                raise FlushError(f"the commit failed: {error}") from error
            raise
        for table, now in zip(prepared, loaded, strict=True):
            table.committed(now)

    def settle(self) -> list[StagedTable]:
        """Find out whether the last commit was made, if it ended in an error; its tables if so."""
        doubtful, loaded = self._in_doubt, []
        for table in doubtful:
            loaded.append(self._registry.load_table(table.table.identifier))
        if not doubtful:
            return []
        snapshots = {s["snapshot-id"] for s in loaded[0].metadata.get("snapshots") or ()}
        self._in_doubt = []
        is_made = doubtful[0].prepared_snapshot_id in snapshots
        for table, now in zip(doubtful, loaded, strict=True):
            if is_made:
                table.committed(now)
            else:
                table.failed()
            table.follow(now)
        return doubtful if is_made else []
