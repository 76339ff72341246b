"""The one process that keeps a head's WAL until it is captured, and then lets it be recycled.

Whoever holds the head's maintenance lock is the keeper. Its connection K always holds a read
transaction: nobody, not even a foreign program, can checkpoint past K's mark. The cycle below is
the only place that lets SQLite recycle frames; every step's order matters (ARCHITECTURE.md, I3).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import apsw

from dosql_core.errors import CannotOpenError
from dosql_core.kernel.capture import Capture
from dosql_core.kernel.connection import open_internal, run
from dosql_core.kernel.wal_index import WalIndex, WalState
from dosql_core.kernel.wal_position import CapturedPosition
from dosql_core.kernel.write_gate import WriteGate

_READERS_LEAVE_SECONDS = 0.05
_CYCLES_SKIPPED_MAX = 15
_GATE_SECONDS = 30.0
_SHORT_PAUSES, _SHORT_PAUSE_SECONDS, _LONG_PAUSE_SECONDS = 200, 0.0001, 0.002

CLOSE_THE_REPLACED = "close every connection to the former file, then open this one"

Stamp = tuple[int, int, int, int]


class Keeper:
    """Three connections of our own: K keeps, W takes the write lock, C checkpoints.

    K is given; W and C are opened when the first cycle needs them: who only reads needs neither.
    `file` is the device and the inode of what K has open, which need not be at `path` any more.
    """

    def __init__(
        self,
        path: str,
        vfs: str | None,
        index: WalIndex,
        capture: Capture,
        keeping: apsw.Connection,
        file: tuple[int, int],
    ) -> None:
        self._path = path
        self._file = file
        self._index = index
        self._capture = capture
        self._skipping = self._cycles_to_skip = 0
        self._lock_wait = _LockWait()
        self._vfs = vfs
        self.connection = keeping
        self._opened: list[apsw.Connection] = []

    @cached_property
    def writer(self) -> apsw.Connection:
        """W; whoever uses it has the turn."""
        self._refuse_another_file()
        writer = open_internal(self._path, vfs=self._vfs)
        self._opened.append(writer)
        writer.set_busy_handler(self._lock_wait)
        return writer

    @cached_property
    def _checkpointer(self) -> apsw.Connection:
        """C; whoever uses it has the turn."""
        self._refuse_another_file()
        checkpointer = open_internal(self._path, vfs=self._vfs)
        self._opened.append(checkpointer)
        # wal_checkpoint on a connection that never read returns (-1, -1) and does nothing
        run(checkpointer, "SELECT 1 FROM sqlite_schema LIMIT 1")
        return checkpointer

    def is_of_another_file(self) -> bool:
        """Whether a file has been put where ours was; nothing of ours may go there."""
        return is_another_file(self._path, self._file)

    def has_lost_its_file(self) -> bool:
        """Whether another file is where ours was, or none at all."""
        return not is_in_place(self._path, self._file)

    def _refuse_another_file(self) -> None:
        if self.is_of_another_file():
            raise CannotOpenError(replaced_while_open(self._path), hint=CLOSE_THE_REPLACED)

    def keep(self) -> None:
        """Hold the WAL from here on."""
        run(self.connection, "BEGIN")
        run(self.connection, "SELECT 1 FROM sqlite_schema LIMIT 1")

    def release(self) -> None:
        """Stop holding the WAL."""
        if self.connection.in_transaction:
            run(self.connection, "COMMIT")

    @contextlib.contextmanager
    def write_lock(self, gate: WriteGate) -> Iterator[WalState]:
        """Hold SQLite's write lock, in turn; yields the state of the WAL, which stands still."""
        with self._turn(gate), self._locked(gate) as state:
            yield state

    @contextlib.contextmanager
    def _turn(self, gate: WriteGate) -> Iterator[None]:
        gate.enter(_GATE_SECONDS)
        gate.is_maintained = True
        try:
            yield
        finally:
            gate.is_maintained = False
            gate.leave()

    @contextlib.contextmanager
    def _locked(self, gate: WriteGate) -> Iterator[WalState]:
        with gate.turnstile.keeping():
            self._lock_wait.gate = gate
            run(self.writer, "BEGIN IMMEDIATE")
            _note_wait(gate, is_long=False)
            try:
                yield self._index.state()
            finally:
                if self.writer.in_transaction:
                    run(self.writer, "ROLLBACK")

    def cycle(self, gate: WriteGate, *, last: bool = False) -> bool:
        """Capture what is committed, then let SQLite recycle the WAL; True when it copied all.

        `last` also empties the WAL file, for a database that is about to be closed.
        """
        if self.is_of_another_file():
            return False
        with self._turn(gate):
            with self._locked(gate) as state:
                position, copied_all = self.recycle(state)
            if copied_all and not last:
                self._let_readers_leave()
        if last and copied_all:
            return self._empty_the_wal(position)
        return copied_all

    def recycle(self, state: WalState) -> tuple[CapturedPosition, bool]:
        """The middle of the cycle, for a caller who holds the write lock at `state`."""
        position = self._capture.capture(self.writer, state)
        self._capture.causes.clear()  # all of them are in history, and nobody commits
        # From the end of the WAL on: it may be copied, but not begun anew. Where it is all in the
        # file, because that could not be recorded, K would let go of it.
        if not self._index.is_all_in_file():
            self._keep_anew()
        copied_all = self.checkpoint(state)
        if copied_all:
            position = self._mark_complete(position, state)
            self._keep_anew()  # from the file on: now that this is recorded, it may be begun anew
        return position, copied_all

    def _keep_anew(self) -> None:
        self.release()
        self.keep()

    def _let_readers_leave(self) -> None:
        """Wait a little for readers: one inside the WAL at the next write stops its restart.

        W holds no lock any more, for it would be such a reader. Writers of this process wait, too,
        so after waiting in vain the next cycles do not: a reader that stays for long would cost
        every one of them this time.
        """
        if self._cycles_to_skip:
            self._cycles_to_skip -= 1
            return
        deadline = time.monotonic() + _READERS_LEAVE_SECONDS
        while self._index.readers_need_the_wal():
            if time.monotonic() >= deadline:
                self._skipping = min(2 * self._skipping + 1, _CYCLES_SKIPPED_MAX)
                self._cycles_to_skip = self._skipping
                return
            time.sleep(0.001)
        self._skipping = 0

    def checkpoint(self, state: WalState) -> bool:
        """Copy what is in the WAL into the file, under the write lock; whether all of it was."""
        if self.is_of_another_file():
            return False
        try:
            in_wal, copied = self._checkpointer.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:  # a foreign program is at it
            return False
        return in_wal == copied == state.frames

    def _mark_complete(self, position: CapturedPosition, state: WalState) -> CapturedPosition:
        if state.frames == 0:
            return position
        _, newest = self._capture.position()
        if position.is_complete:
            return position
        # as long as the file keeps this stamp, nobody has checkpointed anything since
        stamp = new_stamp(self._path)
        complete = replace(position, is_complete=True, checkpointed=newest, stamp=stamp)
        self._capture.record_position(complete)
        return complete

    def _empty_the_wal(self, position: CapturedPosition) -> bool:
        """Truncate the WAL and stamp the file, so that the next opening knows nothing is missing.

        K stays open: were somebody to commit in between, that commit could not be checkpointed,
        the truncation would fail, and the frames would wait for the next opening.
        """
        if self.is_of_another_file():
            return False
        try:
            self._checkpointer.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        if self._index.state().frames:
            return False
        self._capture.record_position(replace(position, stamp=new_stamp(self._path)))
        return True

    def close(self, *, tidy: bool) -> None:
        """Close the connections; `tidy` lets SQLite remove the empty WAL if nobody else has it."""
        keeping = self.resign()
        if tidy:
            keeping.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        keeping.close()

    def resign(self) -> apsw.Connection:
        """Hold the WAL no more; returns K, open still."""
        self.release()
        for connection in self._opened:
            connection.close()
        return self.connection


def _note_wait(gate: WriteGate, *, is_long: bool) -> None:
    """Nobody gives up waiting for the keeper, but while it waits for somebody itself."""
    gate.is_maintained = not is_long
    if is_long:
        gate.turnstile.forget_keeper()
    else:
        gate.turnstile.note_keeper()


class _LockWait:
    """W's busy handler: writers of other processes leave the lock free for microseconds only."""

    def __init__(self) -> None:
        self._deadline = 0.0
        self.gate: WriteGate | None = None

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            self._deadline = now + _GATE_SECONDS
        if now >= self._deadline:
            return False
        is_long = tries >= _SHORT_PAUSES  # somebody is in a long transaction
        if tries == _SHORT_PAUSES and self.gate is not None:
            _note_wait(self.gate, is_long=True)
        time.sleep(_LONG_PAUSE_SECONDS if is_long else _SHORT_PAUSE_SECONDS)
        return True


def is_in_place(path: str, opened: tuple[int, int]) -> bool:
    """Whether the file of that device and inode is still at `path`."""
    try:
        return stamp_of(path)[:2] == opened
    except OSError:
        return False


def is_another_file(path: str, opened: tuple[int, int]) -> bool:
    """Whether what is at `path` now is not the file of that device and inode."""
    try:
        return stamp_of(path)[:2] != opened
    except FileNotFoundError:
        return False


def replaced_while_open(path: str) -> str:
    """What is wrong when a file is not the one that this process has open under its name."""
    return f"another file has been put at {path} while this process had the one before open"


def stamp_of(path: str) -> Stamp:
    """What tells a database file from one written since: device, inode, bytes, mtime_ns."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def new_stamp(path: str) -> Stamp:
    """Give the file a time no write would give it, and return its stamp; opens no descriptor."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    return stamp_of(path)
