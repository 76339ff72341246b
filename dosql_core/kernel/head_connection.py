"""A user's connection to a head: configured, queued among the writers, timed at its commits."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace

import apsw

from dosql_core.errors import CorruptStoreError, DatabaseLockedError, DatabaseNotFoundError
from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.kernel.capture import COMMIT_METADATA_TABLE
from dosql_core.kernel.change_causes import CauseRecorder, Effects
from dosql_core.kernel.connection import (
    OPEN_CREATE,
    OPEN_READ_WRITE,
    OPEN_URI,
    TRANSACTION_WRITES,
    KernelConnection,
    keep_off_the_wal,
    pragma_value,
    run,
    run_untraced,
    telling_too_many_files,
)
from dosql_core.kernel.head import Head
from dosql_core.kernel.wal_index import SALT_1_WORD, WalState
from dosql_core.kernel.write_targets import WriteTargets
from dosql_core.options import Durability, SessionOptions

_SYNCHRONOUS = {
    Durability.FULL: "NORMAL",  # the group commit syncs
    Durability.STRICT: "FULL",
    Durability.NORMAL: "NORMAL",
    # not OFF: it begins a WAL anew without a sync, and then a power cut may leave the old header
    # before new frames; commits that others had synced would be gone
    Durability.OFF: "NORMAL",
}
_FIRST_PAUSE_SECONDS = 0.00005
_LONGEST_PAUSE_SECONDS = 0.002
_BRACKETS_MAX = 1000

_OwnCommit = tuple[int, int, int]
"""The last frame of a commit, the WAL's first salt then, and the time that was noted for it."""


class HeadConnection:
    """What one connection to a head has beside SQLite's own state."""

    @telling_too_many_files()
    def __init__(self, head: Head, options: SessionOptions) -> None:
        self.head = head
        self.timeout_seconds = options.timeout_seconds
        self._is_in_gate = False
        # Waits for this writer's turn, but not with a statement that does not write main.
        # Errors: DatabaseLockedError when it does not come in time.
        self.enter_write, self._leave_gate = self._turns()
        self._own_commit: _OwnCommit | None = None
        self._committed_at = 0
        self._snapshot: WalState | Lsn | None = None
        self._planned_time: Microseconds | None = None
        self._patience_seconds = 0.0
        self._schema_seen = -1
        self._looked_in_transaction = False
        self._causes: CauseRecorder | None = None
        # Tells what triggers and foreign keys do in the present schema.
        self.find_effects: Callable[[], Effects] = lambda: Effects()
        # Tells whether the open transaction has a savepoint, of which SQLite does not tell.
        self.has_savepoint: Callable[[], bool] = lambda: True
        if not os.path.exists(head.place.database_path):
            raise DatabaseNotFoundError(f"{head.place.database_path} has been removed")
        self.kernel = KernelConnection(
            head.place.database_path,
            flags=OPEN_READ_WRITE | OPEN_URI | OPEN_CREATE,  # ATTACH makes new files only with it
            vfs=head.vfs,
            statementcachesize=options.cached_statements,
        )
        self.write_targets = WriteTargets(self.kernel)
        keep_off_the_wal(self.kernel)
        # Before the first statement: another process may be building the WAL's index just now.
        self.kernel.set_busy_handler(self._wait_for_the_lock)
        self.set_durability(options.durability)
        if options.read_only:
            run(self.kernel, "PRAGMA query_only = ON")
        self.kernel.set_commit_hook(self._commit_hook())
        self.kernel.set_rollback_hook(self._forget_metadata)
        self.kernel.set_wal_hook(self._wal_hook())

    # -- durability and hooks ----------------------------------------------------------------------

    def set_durability(self, durability: Durability) -> None:
        """What a commit has survived when it returns, from the next one on."""
        self.durability = durability
        self._is_syncing = durability is Durability.FULL
        run(self.kernel, f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")

    def _commit_hook(self) -> Callable[[], bool]:
        """Note the time of a commit while the write lock is held; runs at every commit."""
        group_commit, note = self.head.group_commit, self.head.times.recorder(self.head.index)

        def note_time() -> bool:
            if group_commit.failure is not None:
                group_commit.refuse_commit()
            self._committed_at = note(self._planned_time)
            self._planned_time = None
            if self._causes is not None and (causes := self._causes.take()) is not None:
                self.head.causes.note(self.head.times.last_time, causes)
            return False

        return note_time

    def _wal_hook(self) -> Callable[[apsw.Connection, str, int], int]:
        """After a commit, its lock released: let the next writer in, then wait for the disk."""
        head, words, sync = self.head, self.head.index.words, self.head.group_commit.wait
        leave, pacing = self._leave_gate, head.keeping.pacing

        def after_commit(_connection: apsw.Connection, schema: str, frames: int) -> int:
            if schema != "main":
                return 0
            self._own_commit = frames, words[SALT_1_WORD], self._committed_at
            if self._is_in_gate:
                leave()
            if frames >= pacing.next_frames:
                head.keeping.note_frames(frames)
            if self._is_syncing:
                sync()
            return 0

        return after_commit

    # -- taking turns ------------------------------------------------------------------------------

    def _turns(self) -> tuple[Callable[..., None], Callable[[], None]]:
        """`enter_write` and `_leave_gate`, as fast as they can be while nobody else waits."""
        gate, turnstile = self.head.gate, self.head.gate.turnstile
        take, give_back, waiters = gate.take, gate.give_back, gate.waiters
        contended_until = turnstile.contended_until
        schema_mark = self.head.schema_mark

        def enter_write(statement: str | None = None) -> None:
            if self._is_in_gate:
                if schema_mark[0] != self._schema_seen:
                    self._look_at_schema()
                return
            if waiters or contended_until[0] or not take(False):
                if statement is not None and not self.write_targets.includes_main(statement):
                    return
                gate.enter(self.timeout_seconds)
            self._is_in_gate = True
            if schema_mark[0] != self._schema_seen:
                self._look_at_schema()

        def leave_gate() -> None:
            self._is_in_gate = False
            if waiters or turnstile.is_held:
                gate.leave()
            else:
                give_back()
                if waiters:
                    gate.look_again()

        return enter_write, leave_gate

    def look_at_schema_again(self) -> None:
        """Do so before the next write, whatever changed."""
        self._schema_seen = -1

    def tell_cause(self, cause: str | None) -> None:
        """For what a statement changes from now on there is a reason; None takes it back."""
        if self._causes is not None:
            self._causes.given = cause

    def _look_at_schema(self) -> None:
        """Record causes from now on where the schema has any; else not."""
        may_begin_again = self.kernel.in_transaction and self._is_open_for_nothing()
        if may_begin_again:  # SQLite does not wait for the lock in a transaction that has read
            run_untraced(self.kernel, "COMMIT")
        try:
            self._look()
        finally:
            if may_begin_again:
                run_untraced(self.kernel, "BEGIN")

    def _is_open_for_nothing(self) -> bool:
        """Whether the open transaction may begin again: nobody would notice."""
        return self.kernel.txn_state() == apsw.SQLITE_TXN_NONE and not self.has_savepoint()

    def _look(self) -> None:
        self._schema_seen = self.head.schema_mark[0]
        self._looked_in_transaction = self.kernel.in_transaction
        known = self.find_effects()
        if self._causes is not None and self._causes.known != known:
            self._causes.stop()
            self._causes = None
        if self._causes is None and (known.effects or known.has_handlers):
            self._causes = CauseRecorder(self.kernel, known)

    def leave_write(self) -> None:
        """Give the turn up, unless the write lock it was for is held."""
        if self._is_in_gate and self.kernel.txn_state("main") != TRANSACTION_WRITES:
            self._leave_gate()

    def _wait_for_the_lock(self, tries: int) -> bool:
        """SQLite's busy handler: queue behind the other processes, up to the timeout.

        As SQLite's own it counts what it sleeps: time in which this process does not run, and that
        in which the keeper has the lock, use up nobody's patience.
        """
        if tries == 0:
            self._patience_seconds = self.timeout_seconds
        turnstile = self.head.turnstile
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(tries, 6), _LONGEST_PAUSE_SECONDS)
        if turnstile.is_kept():
            time.sleep(pause)
            return True
        if self._patience_seconds <= 0:
            return False
        turnstile.announce()
        if self._is_in_gate:
            try:
                self._patience_seconds = turnstile.enter(self._patience_seconds)
            except DatabaseLockedError:
                return False
        pause = min(pause, self._patience_seconds)
        time.sleep(pause)
        self._patience_seconds -= pause
        return True

    def outlast_keeper(self) -> bool:
        """Whether the lock that SQLite met just now may have been the keeper's, which is free now.

        SQLite waits for nobody in a transaction that has read, for a writer may wait for its end;
        the keeper never does.
        """
        turnstile = self.head.turnstile
        if self.kernel.txn_state("main") != apsw.SQLITE_TXN_READ or not turnstile.was_kept_lately():
            return False
        while turnstile.is_kept():
            time.sleep(_FIRST_PAUSE_SECONDS)
        return True

    # -- where it reads ----------------------------------------------------------------------------

    def begin_read(self) -> None:
        """Open the snapshot of a transaction so that its LSN is known.

        Where somebody commits in just that moment it is not, unless the transaction may begin again
        because nothing depends on it so far: no savepoint, nothing written elsewhere.
        """
        kernel, index = self.kernel, self.head.index
        if kernel.txn_state("main") != apsw.SQLITE_TXN_NONE:
            return
        may_begin_again = self._is_open_for_nothing()
        self._snapshot = None
        for _ in range(_BRACKETS_MAX):
            before = index.raw_header()
            run_untraced(kernel, "SELECT 1 FROM sqlite_schema LIMIT 1")
            snapshot = self._snapshot_between(before)
            if snapshot is not None:
                self._snapshot = snapshot
                return
            if not may_begin_again:
                return
            run_untraced(kernel, "COMMIT")
            run_untraced(kernel, "BEGIN")

    def _snapshot_between(self, before: bytes) -> WalState | Lsn | None:
        """What was opened since the WAL index was `before`; None when somebody wrote meanwhile.

        A snapshot inside the WAL pins its frames, so they can be counted when somebody asks. One
        that needs nothing of the WAL pins nothing, and the next commit may begin the WAL anew: its
        LSN has to be found now.
        """
        index = self.head.index
        state = index.state()
        snapshot: WalState | Lsn = state
        if index.is_all_in_file():
            try:
                snapshot = self.head.lsn_of(state)
            except CorruptStoreError:  # the WAL was begun anew meanwhile
                return None
        return snapshot if index.raw_header() == before else None

    def forget_commit(self) -> None:
        """A statement runs after the last commit: the connection sees the present again."""
        self._own_commit = None

    def lsn(self) -> Lsn:
        """The LSN this connection sees: its snapshot's, that of its last commit, or the newest."""
        head = self.head
        if self.kernel.in_transaction:
            state = self.kernel.txn_state("main")
            if state == TRANSACTION_WRITES:
                return head.newest_lsn()  # the write lock stands still what others commit
            if state == apsw.SQLITE_TXN_NONE:
                self._snapshot = None
                self.begin_read()
            snapshot = self._snapshot
            if snapshot is None:
                return head.newest_lsn()
            return head.lsn_of(snapshot) if isinstance(snapshot, WalState) else snapshot
        self._snapshot = None
        if self._own_commit is not None:
            # told once: whoever asks again, or has read since, wants to know the present
            own, self._own_commit = self._own_commit, None
            return self._lsn_of_commit(own)
        return head.newest_lsn()

    def _lsn_of_commit(self, own: _OwnCommit) -> Lsn:
        frames, salt, at = own
        head = self.head
        state = head.index.state()
        if head.index.words[SALT_1_WORD] == salt and frames <= state.frames:
            with contextlib.suppress(CorruptStoreError):  # the WAL was begun anew meanwhile
                return head.lsn_of(replace(state, frames=frames))
        # The WAL was begun anew since, so history has the commit: no other has its time.
        head.own_history.refresh()
        return head.history.newest_at(Microseconds(at)) or head.newest_lsn()

    # -- metadata ----------------------------------------------------------------------------------

    def content_mark(self) -> tuple[int, ...]:
        """Differs from an earlier one of the same transaction when that has changed something."""
        numbers = (pragma_value(self.kernel, name) for name in ("schema_version", "user_version"))
        return (self.kernel.total_changes(), *numbers)

    def planned_metadata(self) -> tuple[str | None, str | None]:
        """Author and message that the open transaction would carry if it were committed now."""
        if self._planned_time is None:
            return None, None
        rows = run(
            self.kernel,
            f'SELECT author, message FROM main."{COMMIT_METADATA_TABLE}" WHERE committed_at = ?',
            (self._planned_time,),
        )
        return rows[0] if rows else (None, None)

    @property
    def planned_time(self) -> Microseconds | None:
        """The time its commit will have, once author and message are written; else None."""
        return self._planned_time

    def _forget_metadata(self) -> None:
        """After a rollback, which took the row away: the next commit tells its own time."""
        self._planned_time = None
        self.write_targets.forget()
        if self._looked_in_transaction:  # TEMP triggers that were made are gone again
            self._looked_in_transaction = False
            self._schema_seen = -1
        if self._causes is not None:
            self._causes.forget()

    def write_metadata(self, author: str | None, message: str | None) -> None:
        """Put author and message into the open write transaction; its commit will carry them."""
        table = f'main."{COMMIT_METADATA_TABLE}"'
        self._make_metadata_table(table)
        # rows that were captured have done their work
        newest = self.head.own_history.newest_lsn
        captured_at = self.head.history.commit(newest).committed_at if newest else 0
        run(self.kernel, f"DELETE FROM {table} WHERE committed_at <= ?", (captured_at,))
        # the write lock is held by now, so no commit can come between this time and ours
        at = self._planned_time = self.head.times.next_time()
        self.head.times.record(self.head.index, at)  # who asks for a later time has to wait for us
        run(self.kernel, f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (at, author, message))

    def _make_metadata_table(self, table: str) -> None:
        is_there = "SELECT 1 FROM main.sqlite_schema WHERE name = ?"
        if run(self.kernel, is_there, (COMMIT_METADATA_TABLE,)):
            return
        self.kernel.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)  # for its name's beginning
        try:
            run(
                self.kernel,
                f"CREATE TABLE {table} "
                "(committed_at INTEGER PRIMARY KEY, author TEXT, message TEXT) WITHOUT ROWID",
            )
        finally:
            self.kernel.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0)

    def close(self) -> None:
        """Close the connection and give the turn up if it was held."""
        try:
            self.kernel.close(True)
        finally:
            if self._is_in_gate:
                self._leave_gate()
        # They have us: else only the collector frees this, and the head with it.
        self.enter_write = self._leave_gate = _take_no_turn


def _take_no_turn(statement: str | None = None) -> None:
    """A closed connection neither waits nor writes."""
