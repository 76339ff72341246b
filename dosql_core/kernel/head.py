"""The head of one branch in this process: what all its connections share.

Opening a head decides whether this process is its keeper, adopts a file that has no history yet,
and finds out what happened while nobody watched. docs: ARCHITECTURE.md sections 5 to 8.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import apsw

from dosql_core.errors import (
    CannotOpenError,
    CorruptStoreError,
    DatabaseNotFoundError,
    Error,
    LostCommitsError,
    MissingSegmentError,
)
from dosql_core.identifiers import EMPTY_LSN, BranchId, Lsn, Microseconds
from dosql_core.kernel import overlay_vfs
from dosql_core.kernel.adoption import HeadPages, Progress
from dosql_core.kernel.capture import Capture
from dosql_core.kernel.change_causes import CauseLog
from dosql_core.kernel.commit_times import CommitTimes
from dosql_core.kernel.companion import StartCompanion
from dosql_core.kernel.connection import (
    OPEN_CREATE,
    OPEN_READ_WRITE,
    keep_off_the_wal,
    open_internal,
    run,
    telling_too_many_files,
)
from dosql_core.kernel.cycle_pacing import CyclePacing
from dosql_core.kernel.group_commit import GroupCommit
from dosql_core.kernel.keeper import (
    CLOSE_THE_REPLACED,
    Keeper,
    Stamp,
    is_another_file,
    is_in_place,
    replaced_while_open,
    stamp_of,
)
from dosql_core.kernel.keeping import Keeping, OnCycle
from dosql_core.kernel.overlay_map import OverlayMap
from dosql_core.kernel.turnstile import Turnstile
from dosql_core.kernel.wal_index import WalIndex, WalState
from dosql_core.kernel.wal_position import (
    CapturedPosition,
    GapFound,
    LsnClock,
)
from dosql_core.kernel.write_gate import WriteGate
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.durable_files import make_directory, remove_quietly
from dosql_core.storage.lock_files import LockFile
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.page_walk import LiveCommit
from dosql_core.storage.wal_frames import FRAME_HEADER_BYTES

_LOOKS_MAX = 200
_BUSY_MILLISECONDS = 10_000


@dataclass(frozen=True, slots=True)
class HeadPlace:
    """Where a branch lives.

    Shape: `database_path` is the SQLite file (main, hydrated) or the overlay of a fork;
           `directory` holds the branch's history; `parent` is None but for forks, whose pages
           begin as those of `parent` at `fork_lsn`.
    """

    branch_id: BranchId
    database_path: str
    directory: str
    parent: PageHistory | None = None
    fork_lsn: Lsn = EMPTY_LSN
    is_overlay: bool = False

    @property
    def history_directory(self) -> str:
        return os.path.join(self.directory, "history")


class LivePosition(NamedTuple):
    """A place in the WAL, and the LSN of the commit that ends there."""

    place: CapturedPosition
    lsn: Lsn


class Head:
    """One branch's head, open in this process."""

    def __init__(
        self,
        place: HeadPlace,
        *,
        create: bool = True,
        capture_bytes: int,
        on_progress: Progress | None = None,
        on_cycle: OnCycle | None = None,
        start_companion: StartCompanion | None = None,
    ) -> None:
        self.place = place
        self._stamp_before: Stamp | None = None
        self._undo = contextlib.ExitStack()
        self.opening_note: str | None = None
        self._is_let_go = False  # the file was deleted; another may have its path by now
        self.pin_lock = threading.RLock()
        self._pin: apsw.Connection | None = None
        self._spare: list[apsw.Connection] = []  # open, to pin or to keep with: whoever comes first
        # Counts what may have changed the schema; a list, for connections look at it all the time.
        self.schema_mark = [0]
        with self._undo:
            make_directory(place.directory)
            self._opening = self._lock_file("opening.lock")
            self._opening.lock()
            self._in_use = self._lock_file("in_use.lock")
            self._share_use()
            maintenance_lock = self._lock_file("maintenance.lock")
            self._open_file(create)
            self._open_history()
            self._open_shared_parts()
            frames_min = max(capture_bytes // (self.page_size + FRAME_HEADER_BYTES), 1)
            self.keeping = Keeping(
                self,
                lock_file=maintenance_lock,
                stamp=self._stamp_before,
                pacing=CyclePacing(self.index, self.times, frames_min),
                on_cycle=on_cycle,
                start_companion=start_companion,
            )
            self.keeping.begin(on_progress)
            self._opening.unlock()
            self._closing = self._undo.pop_all()

    # -- opening -----------------------------------------------------------------------------------

    def _lock_file(self, name: str) -> LockFile:
        lock_file = LockFile(os.path.join(self.place.directory, name))
        self._undo.callback(lock_file.close)
        return lock_file

    def _share_use(self) -> None:
        if not self._in_use.try_lock(shared=True):
            raise CannotOpenError(
                f"branch {self.place.branch_id} is being dropped or hydrated by another process",
                hint="try again in a moment",
            )

    @telling_too_many_files()
    def _open_file(self, create: bool) -> None:
        """Open the first connection and see to it that the file is in WAL mode.

        It becomes the keeper's, or where another process is the keeper, the one that pins.
        """
        place = self.place
        if place.is_overlay:
            assert place.parent is not None
            own = OverlayMap(os.path.join(place.directory, "overlay.map"))
            self._undo.callback(own.close)
            parent = place.parent.view(place.fork_lsn)
            self._undo.callback(parent.close)
            overlay_vfs.overlay_vfs().register(place.database_path, overlay_vfs.Fork(own, parent))
            self._undo.callback(overlay_vfs.overlay_vfs().forget, place.database_path)
            self.overlay: OverlayMap | None = own
            self.vfs: str | None = overlay_vfs.VFS_NAME
        else:
            self.overlay = None
            self.vfs = None
            if os.path.exists(place.database_path):
                self._stamp_before = stamp_of(place.database_path)
            elif not create:
                raise DatabaseNotFoundError(
                    f"there is no database at {place.database_path}",
                    hint="check the path; a database is made by connecting to write to it",
                )
        flags = OPEN_READ_WRITE | (OPEN_CREATE if create else 0)
        first = apsw.Connection(place.database_path, flags=flags, vfs=self.vfs)
        self.file = stamp_of(place.database_path)[:2]
        self._spare.append(first)
        self._undo.callback(self._close_own_connections)
        keep_off_the_wal(first)
        first.set_busy_timeout(_BUSY_MILLISECONDS)
        mode = run(first, "PRAGMA journal_mode")[0][0]
        if mode != "wal":
            mode = run(first, "PRAGMA journal_mode=WAL")[0][0]
            if mode != "wal":
                raise CannotOpenError(
                    f"{place.database_path} stays in journal mode {mode!r}; history needs WAL",
                    hint="is the file on a network file system, or open with an exclusive lock?",
                )
        run(first, "SELECT 1 FROM sqlite_schema LIMIT 1")
        self.page_size: int = run(first, "PRAGMA page_size")[0][0]

    def _open_history(self) -> None:
        directory = self.place.history_directory
        if os.path.exists(os.path.join(directory, "manifest.json")):
            own = BranchHistory.open(directory)
        elif self.place.parent is not None or os.path.exists(self._ring_path):
            manifest = os.path.join(directory, "manifest.json")
            raise MissingSegmentError(f"{manifest} is missing: the history of this branch is gone")
        else:
            own = BranchHistory.create(
                directory,
                page_size=self.page_size,
                branch_id=self.place.branch_id,
                fork_lsn=self.place.fork_lsn,
            )
        if own.page_size != self.page_size:
            raise CannotOpenError(
                f"{self.place.database_path} has pages of {self.page_size} bytes, its history "
                f"pages of {own.page_size}",
                hint="`dosql detach` it and open it again to begin a new history",
            )
        self._undo.callback(own.close)
        self.own_history = own
        self.history = PageHistory(own, self.place.parent)

    @property
    def _ring_path(self) -> str:
        """Where commit times are noted; the file is there since history first was."""
        return os.path.join(self.place.directory, "commit_times.ring")

    def _open_shared_parts(self) -> None:
        path, directory = self.place.database_path, self.place.directory
        self.index = WalIndex(path + "-shm")
        self._undo.callback(self.index.close)
        self.times = CommitTimes(self._ring_path, not_before=self._newest_time)
        self._undo.callback(self.times.close)
        self.turnstile = Turnstile(directory)
        self._undo.callback(self.turnstile.close)
        self.gate = WriteGate(self.turnstile)
        self.group_commit = GroupCommit(path + "-wal")
        self._undo.callback(self.group_commit.forget_file)
        self.group_commit.open_file()
        self.causes = CauseLog(os.path.join(directory, "commit_causes.log"))
        self._undo.callback(self.causes.close)
        self.clock = LsnClock(path + "-wal", self.page_size, self._position)
        self._undo.callback(self.clock.close)
        self.capture = Capture(
            self.own_history,
            self.history,
            lock_path=os.path.join(directory, "capture.lock"),
            index=self.index,
            clock=self.clock,
            times=self.times,
            causes=self.causes,
            sync_wal=self.group_commit,
        )
        self._undo.callback(self.capture.close)
        self.own_history.exclude_processes = lambda: self.capture

    def _newest_time(self) -> Microseconds:
        """The time of the newest commit in history."""
        newest = self.own_history.newest_lsn
        return self.history.commit(newest).committed_at if newest else Microseconds(0)

    def _position(self) -> tuple[CapturedPosition, Lsn]:
        return self.capture.position()

    def pages(self, state: WalState) -> HeadPages:
        """The head's pages at a state that a read transaction pins."""
        wal = self.clock.descriptor() if state.frames else -1
        return HeadPages(self.place.database_path, self.page_size, state, wal, self.vfs or "")

    # -- reading where we are ----------------------------------------------------------------------

    @property
    def pin_connection(self) -> apsw.Connection:
        """The connection that reads where the WAL ends; call with `pin_lock` held."""
        if self._pin is None:
            self._pin = self.spare_connection()
        return self._pin

    def spare_connection(self) -> apsw.Connection:
        """A connection to pin or to keep with, that was open already if there is one."""
        with contextlib.suppress(IndexError):
            return self._spare.pop()
        if self.is_replaced():
            raise CannotOpenError(
                replaced_while_open(self.place.database_path), hint=CLOSE_THE_REPLACED
            )
        connection = open_internal(self.place.database_path, vfs=self.vfs)
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        return connection

    def is_in_place(self) -> bool:
        """Whether our file is still at our path."""
        return is_in_place(self.place.database_path, self.file)

    def is_replaced(self) -> bool:
        """Whether another file has been put at our path; ours is open still."""
        return is_another_file(self.place.database_path, self.file)

    def give_spare_back(self, connection: apsw.Connection) -> None:
        """Have it for whoever pins or keeps next."""
        self._spare.append(connection)

    def _close_own_connections(self) -> None:
        """Close those of ours that are not the keeper's."""
        if self._pin is not None:
            self._pin.close()
        while self._spare:
            self._spare.pop().close()

    @contextlib.contextmanager
    def pinned(self) -> Iterator[tuple[apsw.Connection, WalState]]:
        """A read transaction of ours, and exactly the state of the WAL it reads at."""
        with self.pin_lock, self._pinned_by(self.pin_connection) as state:
            yield self.pin_connection, state

    @contextlib.contextmanager
    def _pinned_by(self, connection: apsw.Connection) -> Iterator[WalState]:
        if connection.in_transaction:
            run(connection, "COMMIT")
        for _ in range(_LOOKS_MAX):
            before = self.index.raw_header()
            run(connection, "BEGIN")
            run(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")
            if self.index.raw_header() == before:
                break
            run(connection, "COMMIT")
        try:
            yield self.index.state()
        finally:
            if connection.in_transaction:
                run(connection, "COMMIT")

    def lsn_of(self, state: WalState) -> Lsn:
        """The LSN of a state of the WAL that a reader sees or saw a moment ago."""
        return self.clock.lsn_of(state)

    def newest_lsn(self) -> Lsn:
        """The LSN of the last commit."""
        for _ in range(_LOOKS_MAX):
            try:
                return self.clock.lsn_of(self.index.state())
            except (GapFound, CorruptStoreError):
                time.sleep(0.0005)  # the WAL is being restarted just now
        return self.clock.lsn_of(self.index.state())

    def oldest_reader_lsn(self) -> Lsn | None:
        """The LSN of the oldest snapshot whose frames the WAL must keep, the keeper's included."""
        salts, frame = self.index.state().salts, self.index.oldest_mark_in_use()
        if frame is None:
            return None
        with self.pinned() as (_connection, state):
            if state.salts != salts:  # the WAL began anew, so whoever it was has gone
                return None
            return self.clock.lsn_of(replace(state, frames=frame))

    def capture_now(self) -> Lsn:
        """Seal every commit made so far and return the newest LSN of history."""
        if self._is_let_go:
            return self.own_history.newest_lsn
        with self.pinned() as (connection, state):
            self.capture.capture(connection, state)
        self.own_history.refresh()
        return self.own_history.newest_lsn

    def read_live(self, position: LivePosition) -> tuple[list[LiveCommit], LivePosition] | None:
        """The commits after a place in the WAL, without sealing them, and where they end.

        None when they have to be captured: then `live_position` is where to go on.
        """
        if self._is_let_go:
            return None
        try:
            with self.pinned() as (connection, state):
                found = self.capture.read_live(connection, state, position.place, position.lsn)
        except (GapFound, CorruptStoreError):
            return None  # the WAL was begun anew, or is damaged, which capturing will tell
        if found is None:
            return None
        live, place = found
        return live, LivePosition(place, Lsn(position.lsn + len(live)))

    def live_position(self) -> LivePosition:
        """Where history ends in the WAL."""
        return LivePosition(*self.capture.position())

    def wal_bytes(self) -> int:
        """The size of the WAL file."""
        try:
            return os.stat(self.place.database_path + "-wal").st_size
        except FileNotFoundError:
            return 0

    # -- closing -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Capture, checkpoint and close; every session must be closed before.

        Where the program has deleted the file meanwhile, what was committed is still captured;
        where it has deleted the history as well, there is nothing left to do.
        """
        if self._is_let_go or not os.path.isdir(self.place.directory):
            self.abandon()
            return
        self.keeping.stop()
        try:
            self.keeping.recall()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._opening.lock()  # given up with the last of what is closed
            keeper = self.keeping.take_keeper()
            if keeper is not None:
                tidy = False
                try:
                    if keeper.has_lost_its_file():
                        self._capture_without_file(keeper)
                    elif self.group_commit.failure is None:
                        with contextlib.suppress(FileNotFoundError):
                            tidy = self._is_tidy() or keeper.cycle(self.gate, last=True)
                finally:
                    self._close_own_connections()
                    keeper.close(tidy=tidy)
                    if keeper.is_of_another_file():
                        # SQLite leaves the WAL of a file that was moved, and would take it for
                        # that of the new one; history has what is in it.
                        for leftover in ("-wal", "-shm"):
                            remove_quietly(self.place.database_path + leftover)
        finally:
            self._close_shared_parts()  # also when the disk was full: everything is in the WAL

    def _capture_without_file(self, keeper: Keeper) -> None:
        """Capture what the WAL has, where it can, by the one connection that is sure to be open."""
        with contextlib.suppress(OSError, Error, apsw.Error):
            with self._pinned_by(keeper.connection) as state:
                self.capture.capture(keeper.connection, state)
            self.own_history.refresh()

    def _is_tidy(self) -> bool:
        """Whether nothing was committed since the clean closing that the stamp tells of."""
        captured, _ = self.capture.position()
        if self.index.state().frames or captured.stamp is None or self.place.is_overlay:
            return False
        return captured.stamp == stamp_of(self.place.database_path)

    def let_go(self) -> None:
        """Stop keeping a head whose file was deleted, while connections may still be open to it.

        What was committed so far is captured; what those connections still commit goes with them.
        """
        self.keeping.stop()
        was_keeper = self.keeping.is_keeper
        self.keeping.dismiss()
        keeper = self.keeping.take_keeper()
        if keeper is not None:
            self._capture_without_file(keeper)
            keeper.close(tidy=False)
        elif was_keeper:
            with contextlib.suppress(OSError, Error, apsw.Error):
                self.capture_now()
        self._is_let_go = True
        self.keeping.unlock()
        self._in_use.unlock()

    def abandon(self) -> None:
        """Close without capturing, for a head that is about to be removed."""
        self.keeping.stop()
        self.keeping.dismiss()
        keeper = self.keeping.take_keeper()
        if keeper is not None:
            keeper.close(tidy=False)
        self._close_shared_parts()

    def _close_shared_parts(self) -> None:
        """Close what is left, and have nothing that has us: else only the collector frees it."""
        try:
            self._closing.close()
        finally:
            self.own_history.exclude_processes = _refuse_to_write
            self.keeping.forget_head()


def _refuse_to_write() -> contextlib.AbstractContextManager[object]:
    raise ValueError("the head is closed")


__all__ = ["Head", "HeadPlace", "LostCommitsError"]
