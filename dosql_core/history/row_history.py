"""The history of rows: of all rows of a table in a period, or of the row of one key.

What has been worked out is kept, per branch and table, and gone on with when more is committed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from dosql_core.errors import NotSupportedError, TableNotFoundError
from dosql_core.history.row_reader import Identity, RowReader, is_told_by_rowid
from dosql_core.history.row_trace import RowTrace
from dosql_core.history.row_versions import RowVersion, TableVersions, row_versions
from dosql_core.history.table_epochs import TableEpochs
from dosql_core.identifiers import EMPTY_LSN, BranchId, Lsn, SqlValue
from dosql_core.rows.table_declaration import BINARY, TableDeclaration, read_declaration
from dosql_core.rows.table_layout import TableLayout
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.page_timeline import PageTimeline

TABLES_KEPT = 8
TRACES_MAX = 500
"""Rows looked up one by one before all rows of the table are worked out at once."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """What the history of a table looks like to whoever reads it.

    Shape: `epoch` is the definition whose columns it has: the newest of the period.
    """

    epoch: int
    layout: TableLayout
    declaration: TableDeclaration


class TableHistory:
    """The past of one table on one branch.

    Threads: any number.
    Errors:  every method: HistoryExpiredError for moments no longer kept; CorruptStoreError.
    """

    def __init__(self, table: str) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._begin(EMPTY_LSN)

    def _begin(self, first: Lsn) -> None:
        self._first = first
        self._epochs = TableEpochs(self.table, first)
        self._versions = TableVersions(self._epochs, first)
        self._declarations: dict[int, TableDeclaration] = {}
        self._traces = 0

    def shape(self, history: PageHistory, high: Lsn, horizon: Lsn) -> TableShape:
        """The columns of the table at `high`, or where it is gone by then those that it had last.

        Errors: TableNotFoundError when there was no such table; NotSupportedError for what has no
                rows of its own.
        """
        with self._lock:
            self._see(history, horizon)
            epoch = self._epochs.newest_existing(high)
            if epoch is None:
                raise TableNotFoundError(
                    f"no such table: {self.table}",
                    hint="only tables have a history of rows: not views, nor virtual tables",
                )
            layout = self._epochs.epochs[epoch].layout
            assert layout is not None
            if layout.is_shadow:
                raise NotSupportedError(f"{self.table} belongs to a virtual table")
            declaration = self._declaration(history, epoch)
            assert declaration is not None
            return TableShape(epoch, layout, declaration)

    def versions(
        self, history: PageHistory, low: Lsn, high: Lsn, horizon: Lsn
    ) -> tuple[list[RowVersion], RowReader]:
        """The versions that were valid from `low` to `high`; and what reads their payloads."""
        with self._lock:
            timeline = self._see(history, horizon)
            self._versions.extend(timeline)
            reader = RowReader(self._epochs, timeline)
            return self._versions.versions(low, high, horizon), reader

    def versions_of(
        self, history: PageHistory, key: Sequence[SqlValue], low: Lsn, high: Lsn, horizon: Lsn
    ) -> tuple[list[RowVersion], RowReader]:
        """The same of the rows with one primary key, or of one rowid."""
        with self._lock:
            timeline = self._see(history, horizon)
            reader = RowReader(self._epochs, timeline)
            declarations = [
                self._declaration(history, place) for place in range(len(self._epochs.epochs))
            ]
            self._traces += 1
            if self._traces > TRACES_MAX:
                self._versions.extend(timeline)
            rows = self._versions.rows
            newest = self._versions.last
            if newest is not None and newest >= horizon and _are_exact(declarations):
                identity = _identity_of(key, reader, self._epochs)
                found = {identity: rows[identity]} if identity in rows else {}
            elif all(known is None or known.key_order.is_searchable for known in declarations):
                found = RowTrace(timeline, reader, declarations, self._first).follow(key)
            else:  # in the order of a collation that only the program knows
                self._versions.extend(timeline)
                found = dict(rows)
            return [
                version
                for identity, steps in found.items()
                if steps
                for version in row_versions(identity, steps, low, high, horizon)
            ], reader

    def _see(self, history: PageHistory, horizon: Lsn) -> PageTimeline:
        """Take notice of what was committed up to `horizon`, and of what is no longer kept.

        The timeline is not kept: it holds files open that a compaction may have removed.
        """
        if self._first != history.oldest_lsn:
            self._begin(history.oldest_lsn)
        timeline = history.timeline(horizon)
        self._epochs.extend(history, timeline)
        return timeline

    def _declaration(self, history: PageHistory, epoch: int) -> TableDeclaration | None:
        found = self._epochs.epochs[epoch]
        if found.layout is None:
            return None
        known = self._declarations.get(epoch)
        if known is None:
            view = history.view(found.start)
            known = self._declarations[epoch] = read_declaration(view, found.layout)
        return known


class RowHistories:
    """The histories of tables that were asked for lately.

    Threads: any number.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[BranchId, str], TableHistory] = OrderedDict()
        self._lock = threading.Lock()

    def of_table(self, branch_id: BranchId, table: str) -> TableHistory:
        """The history of a table on a branch."""
        key = (branch_id, table.casefold())
        with self._lock:
            history = self._kept.setdefault(key, TableHistory(table))
            self._kept.move_to_end(key)
            while len(self._kept) > TABLES_KEPT:
                self._kept.popitem(last=False)
            return history

    def forget(self, branch_id: BranchId) -> None:
        """Keep nothing of a branch, which may be another one under the same name soon."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == branch_id]:
                del self._kept[key]


def _are_exact(declarations: Sequence[TableDeclaration | None]) -> bool:
    """Whether equal keys are always the same value."""
    return all(
        known is None or set(known.key_order.collations) <= {BINARY} for known in declarations
    )


def _identity_of(key: Sequence[SqlValue], reader: RowReader, epochs: TableEpochs) -> Identity:
    newest = next(epoch.layout for epoch in reversed(epochs.epochs) if epoch.layout is not None)
    if is_told_by_rowid(newest):
        assert isinstance(key[0], int)
        return key[0]
    return tuple(key)
