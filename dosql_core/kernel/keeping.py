"""Who keeps a head's WAL: this process, its companion or another process; and the cycles.

The keeper's cycles run in the head's maintenance thread. Where they take so much of the
interpreter that this process's own commits wait for it, a companion takes the WAL over.
"""

from __future__ import annotations

import contextlib
import errno
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import apsw

from dosql_core.errors import DatabaseLockedError, DiskFullError, TooManyOpenFilesError
from dosql_core.kernel.adoption import Progress
from dosql_core.kernel.companion import (
    CHECKPOINT,
    MAINTAIN,
    Companion,
    CompanionLostError,
    StartCompanion,
)
from dosql_core.kernel.cycle_pacing import CyclePacing
from dosql_core.kernel.head_watch import head_watch
from dosql_core.kernel.keeper import Keeper, Stamp, stamp_of
from dosql_core.kernel.maintenance import Maintenance
from dosql_core.kernel.resumption import begin_history, find_out_what_happened
from dosql_core.kernel.wal_index import WalState
from dosql_core.storage.lock_files import LockFile

if TYPE_CHECKING:
    from dosql_core.kernel.head import Head

_BULK_CAPTURES_MAX = 5
_BACKLOG_WAIT_SECONDS = 2.0
_LOOK_AT_KEEPER_SECONDS = 0.005
_IDLE_SECONDS = 10.0
_NOTHING = WalState(0, 0, (0, 0), (0, 0))

OnCycle = Callable[["Head"], None]


class Keeping:
    """Whether this process keeps the WAL of one head, and how.

    Threads: any number; `_lock` is held while the keeper changes and during a cycle.
    """

    is_volunteer = True
    """Whether this process becomes a keeper unasked; a companion does not, of no head it has open:
    it would come between a keeper and the companion of that one."""

    def __init__(
        self,
        head: Head,
        *,
        lock_file: LockFile,
        stamp: Stamp | None,
        pacing: CyclePacing,
        on_cycle: OnCycle | None,
        start_companion: StartCompanion | None,
    ) -> None:
        """Shape: `stamp` is the one that the file had before it was opened."""
        self._head = head
        self._maintenance_lock = lock_file
        self._stamp_before = stamp
        self._on_cycle = on_cycle
        self._start_companion = start_companion
        self._companion: Companion | None = None
        self._keeper: Keeper | None = None
        self._lock = threading.RLock()
        self._is_over = False
        self._needed_at = 0.0
        self._is_untidy = False
        self._is_handing_over = False
        self.pacing = pacing
        self.maintenance = Maintenance(self.look, name=f"dosql-{head.place.branch_id}")
        self.is_without_keeper = False  # the disk was full when we opened the head

    # -- becoming the keeper -----------------------------------------------------------------------

    def begin(self, on_progress: Progress | None) -> None:
        """Become the keeper, if nobody is. On a full disk reading is possible without one."""
        if not self.is_volunteer:
            self._stamp_before = None
            return
        try:
            if not self.try_to_keep(on_progress):
                self._stamp_before = None
        except (OSError, DiskFullError, apsw.FullError) as error:
            is_full = not isinstance(error, OSError) or error.errno == errno.ENOSPC
            if not is_full or not self._head.own_history.captured:  # no history to go on with
                raise
            self.is_without_keeper = True
        if self.is_keeper:
            head_watch.add(self._head)
        else:
            self.maintenance.start()  # it looks whether it can become the keeper

    def prepare_for_writers(self) -> None:
        """See to it that what is in the WAL is kept before anybody adds to it.

        Errors: DiskFullError where there is still no room to capture it.
        """
        if not self.is_without_keeper:
            return
        try:
            self.try_to_keep()
        except (OSError, DiskFullError, apsw.FullError) as error:
            raise DiskFullError(
                f"no space left to keep what the WAL of {self._head.place.database_path} holds",
                hint="free some space; until then read_only=True opens it for reading",
            ) from error
        self.is_without_keeper = False

    @property
    def is_keeper(self) -> bool:
        """Whether this process keeps the WAL, or has its companion do so."""
        companion = self._companion
        return (
            self._keeper is not None
            or self._is_handing_over
            or (companion is not None and companion.is_keeper)
        )

    @property
    def companion_pid(self) -> int | None:
        """The process that keeps the WAL for this one, if there is any."""
        companion = self._companion
        return companion.pid if companion is not None and companion.is_keeper else None

    def try_to_keep(self, on_progress: Progress | None = None) -> bool:
        """Become the keeper unless another process is; True when this process is it afterwards."""
        head = self._head
        with self._lock:
            if self._keeper is not None or self.companion_pid is not None:
                return True
            if self._is_over:
                return False
            if not self._maintenance_lock.try_lock():
                return False
            head.turnstile.forget_keeper()
            stamp, self._stamp_before = self._stamp_before, None
            if stamp is None:  # not opening it just now
                stamp = stamp_of(head.place.database_path)
            keeping = head.spare_connection()
            keeper = Keeper(
                head.place.database_path, head.vfs, head.index, head.capture, keeping, head.file
            )
            try:
                keeper.keep()
                head.own_history.refresh()
                if keeper.is_of_another_file():
                    pass  # neither ours nor its WAL tells of the other one
                elif not head.own_history.captured and head.place.parent is None:
                    begin_history(head, keeper, on_progress)
                elif head.index.state().frames == 0:
                    find_out_what_happened(head, stamp)
                else:
                    # a WAL that is all in the file already restarts at the next commit: before
                    # anybody commits, what it held has to be captured and recorded as complete
                    with keeper.write_lock(head.gate) as state:
                        find_out_what_happened(head, stamp)
                        keeper.recycle(state)
            except BaseException:
                head.give_spare_back(keeper.resign())
                self.unlock()
                self._stamp_before = stamp
                raise
            self._keeper = keeper
            return True

    def succeed(self, lock_descriptor: int) -> bool:
        """Become the keeper after one who waits for that and shares its lock; whether that is so.

        So nobody else can become it in between.
        """
        self._capture_the_bulk(_NOTHING)  # becoming it captures what is left, under a lock
        self._maintenance_lock.share_with(lock_descriptor)
        return self.try_to_keep()

    # -- keeping the WAL short ---------------------------------------------------------------------

    def note_frames(self, frames: int) -> None:
        """A commit left the WAL this long: have it captured and recycled when it is too long.

        Where capture has fallen far behind, the writer waits for it a while, and so do those who
        come after: a WAL must not outgrow the disk because writing is cheaper than capturing.
        """
        pacing = self.pacing
        if frames >= pacing.next_frames:
            pacing.note_request(frames)
            if not self.is_keeper:
                self.maintenance.wake()  # the keeper may have died
                with contextlib.suppress(TooManyOpenFilesError):  # the commit has been made
                    self._wait_for_the_keeper()
            elif pacing.is_far_behind(frames):
                self.maintenance.wait_for_a_cycle(_BACKLOG_WAIT_SECONDS)
            else:
                self.maintenance.wake()

    def _wait_for_the_keeper(self) -> None:
        """Wait as `note_frames` does, where another process captures what we write."""
        deadline = time.monotonic() + _BACKLOG_WAIT_SECONDS
        while not self._is_over and not self.is_keeper and time.monotonic() < deadline:
            state = self._head.index.state()
            captured, _ = self._head.capture.position()
            frame = captured.frame if captured.salts == state.salts else 0
            if not self.pacing.is_too_long(state.frames, uncaptured=state.frames - frame):
                return
            time.sleep(_LOOK_AT_KEEPER_SECONDS)

    def look(self, *, asked: bool) -> None:
        """What the maintenance thread does when it was woken, and four times a second."""
        companion = self._companion
        if companion is not None and companion.has_ended():
            self._do_without()
        if not self.is_keeper and not self.try_to_keep():
            return
        if asked or self.pacing.is_due():
            self.maintain()
            self.tidy()
        elif companion is not None and time.monotonic() > self._needed_at + _IDLE_SECONDS:
            self.recall()

    def maintain(self, *, at_once: bool = False) -> bool:
        """Capture, and run the keeper's cycle, unless they had better come later.

        True when everything was checkpointed. With `at_once` capture is not put off.
        """
        began_at = time.thread_time()
        with self._lock:
            self._needed_at = time.monotonic()
            self._look_for_help()
            copied_all = self._ask_companion(MAINTAIN)
            if copied_all is not None or not self.try_to_keep():
                return copied_all is True
            state = self._head.index.state()
            is_help_coming = self._companion is not None
            if not at_once and self.pacing.put_off(state, is_help_coming=is_help_coming):
                return False
            self._head.capture_now()
            if not self.pacing.note_capture(state):
                self._capture_the_bulk(state)
                copied_all = self._cycle()
            self.pacing.note_work(time.thread_time() - began_at)
            return copied_all is True

    def checkpoint(self) -> bool:
        """Run the keeper's cycle now; False when not everything could be checkpointed."""
        with self._lock:
            copied_all = self._ask_companion(CHECKPOINT)
            if copied_all is not None:
                return copied_all
            if not self.try_to_keep():
                self._head.capture_now()
                return False
            self._capture_the_bulk(_NOTHING)
            return self._cycle()

    def tidy(self) -> None:
        """Do what is due after a cycle, unless the companion has done so."""
        if self._keeper is not None and self._is_untidy and self._on_cycle is not None:
            began_at = time.thread_time()
            self._is_untidy = False
            self._on_cycle(self._head)
            self.pacing.note_work(time.thread_time() - began_at)

    def _cycle(self) -> bool:
        assert self._keeper is not None
        try:
            copied_all = self._keeper.cycle(self._head.gate)
        except (apsw.BusyError, DatabaseLockedError):  # somebody is in a long transaction
            self.pacing.note_cycle_missed()
            return False
        self._is_untidy = True
        self._head.schema_mark[0] += 1  # another process may have changed it
        self.pacing.note_cycle(self._head.index.state(), copied_all=copied_all)
        return copied_all

    def _capture_the_bulk(self, captured: WalState) -> None:
        """Capture while others write on, so that little is left to do under the write lock."""
        for _ in range(_BULK_CAPTURES_MAX):
            now = self._head.index.state()
            if now.salts == captured.salts and self.pacing.is_little(now.frames - captured.frames):
                return
            self._head.capture_now()
            captured = now

    # -- the companion -----------------------------------------------------------------------------

    def _look_for_help(self) -> None:
        """Start one when there is more to do than this process should; hand over when it is there.

        Called with the lock held.
        """
        if self._is_over or self._start_companion is None or self._keeper is None:
            return
        if self._companion is None:
            if self._head.is_replaced():
                return  # it would open the other file
            is_flooded = self.pacing.is_flooded(self._head.index.state())
            seconds = math.inf if is_flooded else self.pacing.worked_lately()
            try:
                self._companion = self._start_companion(seconds, self._maintenance_lock)
            except Exception:  # an audit hook may raise any; the WAL has to be kept all the same
                self._start_companion = None
        elif self._companion.is_ready():
            self._hand_over(self._companion)

    def _hand_over(self, companion: Companion) -> None:
        """Have the companion keep the WAL, and hold it until it does."""
        keeper, self._keeper = self._keeper, None
        assert keeper is not None
        self._is_handing_over = True
        try:
            with self._until_lost():
                companion.wait_until_ready()
                if self._head.is_replaced():
                    raise CompanionLostError("it may have opened the other file")
                companion.keep()
            if not companion.is_keeper and self._maintenance_lock.try_lock():
                self._keeper = keeper  # it has held the WAL all the time
            else:
                self._head.give_spare_back(keeper.resign())
        finally:
            self._is_handing_over = False

    def _ask_companion(self, order: str) -> bool | None:
        """Have the companion do it: whether it has copied all; None when there is none to ask."""
        companion = self._companion
        if companion is None or not companion.is_keeper:
            return None
        with self._until_lost():
            copied_all = companion.work(order)
            self._head.schema_mark[0] += 1
            state = self._head.index.state()
            if copied_all or not self.pacing.note_capture(state):
                self.pacing.note_cycle(state, copied_all=copied_all)
            return copied_all
        return None

    @contextlib.contextmanager
    def _until_lost(self) -> Iterator[None]:
        """Whatever the companion cannot do, this process does from then on."""
        try:
            yield
        except CompanionLostError:
            self._do_without()

    def _do_without(self) -> None:
        """Have no companion, and start none again: what ended it may end the next one."""
        self._start_companion = None
        self.dismiss()

    def recall(self) -> None:
        """Have no companion any more; this process keeps the WAL again."""
        with self._lock:
            companion = self._companion
            if companion is None or not companion.is_keeper:
                self.dismiss()
                return
            companion.is_keeper = False
            try:
                self.try_to_keep()  # while it holds the WAL still
            finally:
                self._companion = None
                with self._until_lost():
                    companion.resign()

    def dismiss(self) -> None:
        """Have no companion any more, without a keeper in its place."""
        with self._lock:
            if self._companion is not None:
                self._companion.kill()
                self._companion = None

    # -- the end -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Watch the WAL no more, and end the maintenance thread; a cycle that runs is finished."""
        head_watch.remove(self._head)
        self._start_companion = None
        self.maintenance.stop()

    def take_keeper(self) -> Keeper | None:
        """Stop being the keeper for good: whoever gets what we kept with closes it."""
        with self._lock:
            self._is_over = True
            keeper, self._keeper = self._keeper, None
            return keeper

    def forget_head(self) -> None:
        """Let go of the head, which is closed and has us: they would keep each other."""
        if hasattr(self, "_head"):
            del self._head

    def unlock(self) -> None:
        """Let others be the keeper of what is at our path now."""
        self._maintenance_lock.unlock()
