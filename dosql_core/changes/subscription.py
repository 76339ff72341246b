"""A reader of a branch's changes: replays from an LSN, and follows what is committed from then on.

The reader pulls. Nothing is buffered for it, so a slow one never slows a writer; the commits it has
not read yet are simply history.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from dosql_core.changes.arrow_batches import BatchBuilder, TableBatch
from dosql_core.changes.change_event import MARKER_EVENTS, ROW_EVENTS, ChangeEvent, EventKind
from dosql_core.changes.derivation import Derivation
from dosql_core.changes.row_condition import RowCondition
from dosql_core.changes.steps import Steps
from dosql_core.errors import (
    ChangesNotKeptError,
    ChangesTurnedOffError,
    HistoryExpiredError,
    LsnNotAvailableError,
)
from dosql_core.history.refs import BranchRef, RefsContent
from dosql_core.identifiers import BranchId, Lsn
from dosql_core.kernel.head import Head, LivePosition
from dosql_core.options import DatabaseOptions
from dosql_core.rows.table_layout import TableLayout
from dosql_core.storage.page_history import PageHistory

# How long a reader that waits sleeps between two looks at the WAL; a look takes a microsecond.
_SHORTEST_LOOK_SECONDS = 0.0005
_LONGEST_LOOK_SECONDS = 0.004


class ChangingDatabase(Protocol):
    """What reading changes needs of a database."""

    directory: str
    database_id: str
    options: DatabaseOptions

    def refs(self) -> RefsContent:
        """The present refs."""

    def updated_refs(self) -> AbstractContextManager[RefsContent]:
        """Change the refs."""

    def known(self, branch_id: BranchId) -> PageHistory:
        """History of a branch as it was sealed last."""

    def sealed(self, branch_id: BranchId) -> PageHistory:
        """History of a branch with every commit made so far sealed in it."""

    def use_head(self, branch_id: BranchId) -> Head:
        """The head of a branch; give it back."""

    def release_head(self, branch_id: BranchId) -> None:
        """Give a head back."""


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which events a reader wants.

    Shape: `tables` in any case of their letters; row and schema events of others are left out.
           `markers` adds the begin and commit of each transaction. `where` is asked last.
    """

    tables: frozenset[str] | None = None
    operations: frozenset[EventKind] | None = None
    where: Callable[[ChangeEvent], bool] | None = None
    markers: bool = False

    def among(self, events: list[ChangeEvent]) -> list[ChangeEvent]:
        """Those of a commit's events that the reader is given."""
        if self.tables is None and self.operations is None and self.where is None:
            return events
        return [event for event in events if self.wants(event)]

    def wants(self, event: ChangeEvent) -> bool:
        """Whether the reader is given the event; the begin and commit of a transaction always."""
        if event.operation in MARKER_EVENTS:
            return True
        if (
            self.tables is not None
            and event.table is not None
            and event.table.casefold() not in self.tables
        ):
            return False
        if self.operations is not None and event.operation not in self.operations:
            return False
        return self.where is None or self.where(event)


class Subscription:
    """An iterator over events, synchronous and asynchronous.

    Threads: one at a time; `close` may come from any, and ends a wait.
    """

    def __init__(
        self,
        database: ChangingDatabase,
        branch: BranchRef,
        after: int | None,
        wanted: ChangeFilter,
        *,
        follow: bool,
        up_to: int | None = None,
    ) -> None:
        self._database = database
        self._branch = branch
        self._wanted = wanted
        self._follow = follow
        self._is_closed = False
        self._head = database.use_head(branch.id)
        try:
            present = self._head.newest_lsn()
            self._last = present if up_to is None else Lsn(up_to)
            self._derivation = self._begin_after(present if after is None else after)
        except BaseException:
            self.close()
            raise
        self._events: Iterator[ChangeEvent] | None = None
        self._live: LivePosition | None = None  # where to go on in the WAL, once caught up

    @property
    def lsn(self) -> Lsn:
        """The commit up to which everything was given."""
        return self._derivation.lsn

    @property
    def has_caught_up(self) -> bool:
        """Whether nothing was committed after what was read last."""
        return self._is_closed or self._head.newest_lsn() <= self._derivation.lsn

    def commits(self) -> Steps[tuple[Lsn, list[ChangeEvent]]]:
        """The wanted events commit by commit; a commit with none is left out.

        Errors: ChangesNotKeptError when retention overtook the reader.
        """
        return Steps(self._commits())

    def _commits(self) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        while not self._is_closed:
            for lsn, events in self._next_commits():
                wanted = self._wanted.among(events)
                if wanted:
                    yield lsn, wanted
                if self._is_closed:
                    return
            if not self._follow or not self._wait_beyond(self._derivation.lsn):
                return

    def __iter__(self) -> Iterator[ChangeEvent]:
        for _, events in self._commits():
            yield from events

    def __next__(self) -> ChangeEvent:
        if self._events is None:
            self._events = iter(self)
        return next(self._events)

    async def __aiter__(self) -> AsyncIterator[ChangeEvent]:
        async for _, events in self.commits():
            for event in events:
                yield event

    def batches(self, events_max: int = 1000) -> Steps[list[ChangeEvent]]:
        """Lists of up to `events_max` events, each handed out as soon as nothing more is there."""
        return Steps(self._batches(events_max))

    def record_batches(
        self,
        rows_max: int = 10_000,
        *,
        types: Mapping[str, Any] | None = None,
        before: bool = False,
    ) -> Steps[TableBatch]:
        """Row events as Arrow record batches, a table's together, in order within each table.

        A batch is handed out when about `rows_max` rows are gathered, nothing more is there, or the
        schema changes.

        Shape:  `types` are types of Arrow by column or "table.column"; else the declared type says,
                or what is in the column. `before`: also what rows held before.
        Errors: ChangeDecodeError; MissingExtraError without pyarrow.
        """
        return Steps(self._record_batches(rows_max, BatchBuilder(types, before=before)))

    def _record_batches(self, rows_max: int, gathered: BatchBuilder) -> Iterator[TableBatch]:
        layouts: Mapping[str, TableLayout] = self._derivation.tables
        for _, events in self._commits():
            if self._derivation.tables is not layouts:
                yield from gathered.take(layouts)
                layouts = self._derivation.tables
            for event in events:
                if event.operation in ROW_EVENTS:
                    gathered.add(event)
            if gathered.count >= rows_max or self.has_caught_up:
                yield from gathered.take(layouts)
        yield from gathered.take(layouts)

    def _batches(self, events_max: int) -> Iterator[list[ChangeEvent]]:
        batch: list[ChangeEvent] = []
        for lsn, events in self._commits():
            batch += events
            while len(batch) >= events_max:
                yield batch[:events_max]
                del batch[:events_max]
            if batch and lsn >= self._head.newest_lsn():
                yield batch
                batch = []
        if batch:
            yield batch

    def close(self) -> None:
        """Let go of the branch; a wait in another thread ends."""
        if not self._is_closed:
            self._is_closed = True
            self._database.release_head(self._branch.id)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # -- following ---------------------------------------------------------------------------------

    def _begin_after(self, lsn: int) -> Derivation:
        try:
            self._head.capture_now()
            return Derivation(
                self._database.known(self._branch.id),
                self._branch.name,
                Lsn(lsn),
                markers=self._wanted.markers,
            )
        except (HistoryExpiredError, LsnNotAvailableError) as error:
            raise ChangesNotKeptError(f"no changes after LSN {lsn}: {error}") from error

    def _next_commits(self) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        """What can be told at once: of what is sealed, or of the WAL where that is all it takes.

        To seal each commit as it comes would take several syncs, and a file, for each.
        """
        if self._live is not None and not self._derivation.is_heavy:
            found = self._head.read_live(self._live)
            if found is not None:
                live, position = found
                for told in self._derivation.of(live):
                    # one at a time, for the reader may stop anywhere and begin again
                    self._live = None if told[0] != position.lsn else position
                    yield told
                return
        self._live = None
        yield from self._derived(self._capture())
        if self._follow:
            position = self._head.live_position()
            if position.lsn == self._derivation.lsn:
                self._derivation.settle()
                self._live = position

    def _capture(self) -> Lsn:
        """Have every commit made so far in history; up to which there is something to read."""
        if self._head.newest_lsn() > self._derivation.lsn:
            self._head.capture_now()
            self._database.known(self._branch.id)
        newest = self._head.own_history.newest_lsn
        return newest if self._follow else min(newest, self._last)

    def _derived(self, last: Lsn) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        try:
            yield from self._derivation.up_to(last)
        except HistoryExpiredError as error:
            raise ChangesNotKeptError(f"retention overtook this reader: {error}") from error

    def _wait_beyond(self, lsn: Lsn) -> bool:
        """Wait for the next commit, by whatever process; False when the reader was closed."""
        pause = _SHORTEST_LOOK_SECONDS
        while not self._is_closed:
            if self._head.newest_lsn() > lsn:
                return True
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_SECONDS)
        return False


def require_changes(database: ChangingDatabase) -> None:
    """Errors: ChangesTurnedOffError."""
    if not database.options.changes:
        raise ChangesTurnedOffError("this database was opened with changes=False")


def change_filter(
    tables: Collection[str] | None,
    operations: Collection[str] | None,
    where: Callable[[ChangeEvent], bool] | str | None,
    *,
    markers: bool,
) -> ChangeFilter:
    """A filter from what a user passes.

    Errors: ValueError for an operation there is none of.
    """
    if isinstance(where, str):
        where = RowCondition(where)
    return ChangeFilter(
        None if tables is None else frozenset(name.casefold() for name in tables),
        None if operations is None else frozenset(EventKind(name) for name in operations),
        where,
        markers,
    )
