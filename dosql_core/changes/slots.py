"""Slots: named, durable positions in a branch's changes that keep what they have not read yet."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dosql_core.changes.change_event import ChangeEvent
from dosql_core.changes.delivery import DeadLetters, PositionTable, RetryPolicy, deliver
from dosql_core.changes.subscription import (
    ChangingDatabase,
    Subscription,
    change_filter,
    require_changes,
)
from dosql_core.errors import (
    LsnNotAvailableError,
    ProgrammingError,
    SlotExistsError,
    SlotInUseError,
    SlotLostError,
    SlotNotFoundError,
)
from dosql_core.history.log import utc
from dosql_core.history.moments import now
from dosql_core.history.refs import RefsContent, SlotRef
from dosql_core.identifiers import MAIN_BRANCH, BranchName, Lsn
from dosql_core.storage.durable_files import make_directory
from dosql_core.storage.lock_files import LockFile

DEFAULT_LAG_BYTES_MAX = 10 << 30
DEFAULT_ACKNOWLEDGE_SECONDS = 0.5
_NAME_LENGTH_MAX = 63


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """A slot as a list shows it.

    Units: `lag_commits` are not acknowledged yet, `lag_bytes` what history keeps for them, about;
           `lag_seconds` is the age of the oldest of them. `is_lost`: it fell behind its limit.
    """

    name: str
    branch: BranchName
    lsn: Lsn
    tables: tuple[str, ...] | None
    is_active: bool
    is_lost: bool
    lag_commits: int
    lag_bytes: int
    lag_seconds: float
    lag_bytes_max: int | None
    created_at: datetime.datetime


class Slots:
    """The slots of one database."""

    def __init__(self, database: ChangingDatabase) -> None:
        self._database = database

    def create(
        self,
        name: str,
        branch: str = MAIN_BRANCH,
        *,
        from_lsn: int | None = None,
        tables: Collection[str] | None = None,
        lag_bytes_max: int | None = DEFAULT_LAG_BYTES_MAX,
        if_not_exists: bool = False,
    ) -> SlotInfo:
        """A slot that has read everything up to `from_lsn`; by default up to the present.

        Errors: SlotExistsError; BranchNotFoundError; LsnNotAvailableError, HistoryExpiredError;
                ChangesTurnedOffError.
        """
        require_changes(self._database)
        if not name or len(name) > _NAME_LENGTH_MAX or not name.isprintable() or "/" in name:
            raise ProgrammingError(
                f"{name[:60]!r} is not a name for a slot",
                hint=f"it has 1 to {_NAME_LENGTH_MAX} printable characters, none of them '/'",
            )
        database = self._database
        branch_ref = database.refs().branch(branch)
        history = database.sealed(branch_ref.id)
        newest = history.newest_lsn
        lsn = newest if from_lsn is None else Lsn(from_lsn)
        if not 0 <= lsn <= newest:
            raise LsnNotAvailableError(f"branch {branch!r} has LSNs 0 to {newest}, not {lsn}")
        with database.updated_refs() as refs:
            if name in refs.slots:
                if not if_not_exists:
                    raise SlotExistsError(f"a slot {name!r} exists already")
            else:
                history.refresh()
                history.view(lsn).close()  # nothing is dropped while the refs are held
                kept = None if tables is None else tuple(tables)
                refs.slots[name] = SlotRef(name, branch_ref.id, lsn, now(), kept, lag_bytes_max)
        return self.get(name)

    def drop(self, name: str) -> None:
        """Forget a slot; what only it needed goes with the next compaction.

        Errors: SlotNotFoundError; SlotInUseError while a consumer reads from it.
        """
        with self._exclusive(name), self._database.updated_refs() as refs:
            del refs.slots[_slot(refs, name).name]

    def advance(self, name: str, lsn: int) -> SlotInfo:
        """Acknowledge everything up to `lsn`; a slot never goes back.

        Errors: SlotNotFoundError, SlotLostError; LsnNotAvailableError beyond the last commit.
        """
        slot = _readable(self._database.refs(), name)
        with _head_of(self._database, slot.branch_id) as newest:
            if lsn > newest:
                raise LsnNotAvailableError(f"the branch has come to LSN {newest}, not {lsn}")
        with self._database.updated_refs() as refs:
            slot = _readable(refs, name)
            if lsn > slot.lsn:
                refs.slots[name] = replace(slot, lsn=Lsn(lsn))
        return self.get(name)

    def get(self, name: str) -> SlotInfo:
        """One slot. Errors: SlotNotFoundError."""
        database = self._database
        refs = database.refs()
        slot = _slot(refs, name)
        with _head_of(database, slot.branch_id) as newest:
            pass
        history = database.known(slot.branch_id)
        lag_bytes, oldest = 0, None
        if not slot.is_lost and newest > slot.lsn:
            first, sealed = Lsn(slot.lsn + 1), min(newest, history.newest_lsn)
            if first <= sealed:
                lag_bytes = history.stored_bytes_of(first, sealed)
                oldest = history.commit(first).committed_at
        return SlotInfo(
            slot.name,
            refs.branches[slot.branch_id].name,
            slot.lsn,
            slot.tables,
            self._is_active(name),
            slot.is_lost,
            newest - slot.lsn,
            lag_bytes,
            0.0 if oldest is None else max(now() - oldest, 0) / 1e6,
            slot.lag_bytes_max,
            utc(slot.created_at),
        )

    def list(self) -> list[SlotInfo]:
        """All slots, the oldest first."""
        slots = sorted(self._database.refs().slots.values(), key=lambda slot: slot.created_at)
        return [self.get(slot.name) for slot in slots]

    @contextlib.contextmanager
    def consume(
        self,
        name: str,
        *,
        operations: Collection[str] | None = None,
        where: Callable[[ChangeEvent], bool] | str | None = None,
        markers: bool = False,
        follow: bool = True,
    ) -> Iterator[SlotConsumer]:
        """Read from where the slot stands; one consumer at a time, here or in any process.

        Errors: SlotNotFoundError, SlotInUseError, SlotLostError; ChangesTurnedOffError.
        """
        require_changes(self._database)
        with self._exclusive(name):
            refs = self._database.refs()
            slot = _readable(refs, name)
            wanted = change_filter(slot.tables, operations, where, markers=markers)
            branch = refs.branches[slot.branch_id]
            with Subscription(self._database, branch, slot.lsn, wanted, follow=follow) as changes:
                yield SlotConsumer(self, name, changes, self._database.database_id)

    @contextlib.contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        _slot(self._database.refs(), name)
        with LockFile(self._lock_path(name)) as lock_file:
            if not lock_file.try_lock():
                raise SlotInUseError(f"slot {name!r} has a consumer already")
            yield

    def _is_active(self, name: str) -> bool:
        try:
            with self._exclusive(name):
                return False
        except SlotInUseError:
            return True

    def _lock_path(self, name: str) -> str:
        directory = os.path.join(self._database.directory, "slots")
        make_directory(directory)
        return os.path.join(directory, f"{name}.lock")


class SlotConsumer:
    """The one reader of a slot. What it acknowledges it is never given again.

    Threads: one at a time; `pause`, `resume` and `stop` may come from any.
    """

    def __init__(self, slots: Slots, name: str, changes: Subscription, identity: str) -> None:
        self._slots = slots
        self._identity = identity
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._acknowledged_at = time.monotonic()
        self.name = name
        self.changes = changes

    def __iter__(self) -> Iterator[ChangeEvent]:
        return iter(self.changes)

    def commits(self) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        """The wanted events commit by commit: acknowledge each when it is dealt with."""
        return self.changes.commits()

    def acknowledge(self, lsn: int | None = None) -> None:
        """Durably note that everything up to `lsn` is dealt with; by default all that was read.

        Errors: SlotLostError.
        """
        self._slots.advance(self.name, self.changes.lsn if lsn is None else lsn)
        self._acknowledged_at = time.monotonic()

    # -- having a function called ------------------------------------------------------------------

    def run(
        self,
        handler: Callable[[ChangeEvent], object],
        *,
        retry: RetryPolicy | None = None,
        dead_letters: DeadLetters | None = None,
        acknowledge_seconds: float = DEFAULT_ACKNOWLEDGE_SECONDS,
    ) -> None:
        """Call `handler` with each event, again when it fails, until there are none or `stop`.

        At least once: after a crash, events handled since the last acknowledgement come again. What
        fails in all its tries goes to `dead_letters`.

        Units:  it acknowledges every `acknowledge_seconds`, and when it has caught up.
        Errors: DeliveryFailedError without `dead_letters`; the slot stands before that commit.
        """
        policy = retry or RetryPolicy()
        with contextlib.closing(self._acknowledging(acknowledge_seconds)) as commits:
            for _, events in commits:
                for event in events:
                    if not deliver(handler, event, policy, dead_letters, self._stopping):
                        return

    def run_into(
        self,
        connection: Any,
        handler: Callable[[Any, list[ChangeEvent]], object],
        *,
        acknowledge_seconds: float = DEFAULT_ACKNOWLEDGE_SECONDS,
        table: str = "dosql_positions",
    ) -> None:
        """Call `handler(connection, events)` for each commit in a transaction of `connection`.

        Exactly once: the transaction also holds how far this slot has come, so what a crash leaves
        is either both or neither, and what was applied is passed over when it comes again.

        Shape:  `connection` is one of dosql_dbapi or sqlite3, on another database, of which the
                handler uses `execute` and `executemany`, and ends no transaction.
        """
        positions = PositionTable(connection, table)
        reader = f"{self._identity}/{self.name}"
        with contextlib.closing(self._acknowledging(acknowledge_seconds)) as commits:
            for lsn, events in commits:
                with positions.transaction(reader, events[0].branch, lsn) as is_new:
                    if is_new:
                        handler(connection, events)

    def pause(self) -> None:
        """Call no handler until `resume`; what is committed meanwhile waits in history."""
        self._going.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._going.set()

    def stop(self) -> None:
        """Let `run` and `run_into` return, after the commit they are at."""
        self._stopping.set()
        self._going.set()
        self.changes.close()

    def _commits_while_going(self) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        for commit in self.changes.commits():
            self._going.wait()
            if self._stopping.is_set():
                return
            yield commit

    def _acknowledging(
        self, acknowledge_seconds: float
    ) -> Generator[tuple[Lsn, list[ChangeEvent]], None, None]:
        """The commits, acknowledged from time to time; each is done when the next is asked for."""
        done: Lsn | None = None
        try:
            for lsn, events in self._commits_while_going():
                yield lsn, events
                done = lsn
                if self.is_due(acknowledge_seconds):
                    self.acknowledge(done)
                    done = None
        finally:
            if done is not None:
                self.acknowledge(done)

    def is_due(self, acknowledge_seconds: float = DEFAULT_ACKNOWLEDGE_SECONDS) -> bool:
        """Whether to acknowledge now: so long after the last time, or with no more to read.

        Each acknowledgement costs a few writes to the disk.
        """
        is_late = time.monotonic() - self._acknowledged_at >= acknowledge_seconds
        return is_late or self.changes.has_caught_up


def _slot(refs: RefsContent, name: str) -> SlotRef:
    found = refs.slots.get(name)
    if found is None:
        known = ", ".join(sorted(refs.slots)) or "none yet"
        raise SlotNotFoundError(f"there is no slot {name!r}", hint=f"slots there are: {known}")
    return found


def _readable(refs: RefsContent, name: str) -> SlotRef:
    slot = _slot(refs, name)
    if slot.is_lost:
        raise SlotLostError(
            f"slot {name!r} stands at LSN {slot.lsn} and fell behind its limit of "
            f"{slot.lag_bytes_max} bytes, so what it had not read is no longer kept"
        )
    return slot


@contextlib.contextmanager
def _head_of(database: ChangingDatabase, branch_id: str) -> Iterator[Lsn]:
    head = database.use_head(branch_id)  # type: ignore[arg-type]
    try:
        yield head.newest_lsn()
    finally:
        database.release_head(branch_id)  # type: ignore[arg-type]
