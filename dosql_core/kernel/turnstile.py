"""Makes the writing processes of one database take turns; costs a memory read while nobody waits.

SQLite's busy handler alone starves: the process that just committed commits again. Here a process
that finds the write lock taken announces so in a shared page; while that announcement is fresh
every process passes two file locks before it writes: `next`, held while waiting, and `main`, held
while writing. Whoever wrote goes behind whoever waits at `next`. For the keeper's cycle nobody
needs to take turns: whoever finds the lock taken by it waits for its end.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Iterator

from dosql_core.errors import DatabaseLockedError
from dosql_core.storage.durable_files import telling_disk_errors
from dosql_core.storage.lock_files import LockFile

_CONTENDED_NS = 200_000_000
_KEEPING_NS = 60_000_000_000
_BATCH_NS = 5_000_000
_LATELY_NS = 20_000_000
_FIRST_SLEEP_SECONDS = 0.0001
_LONGEST_SLEEP_SECONDS = 0.002


class Turnstile:
    """This process's place in the queue of processes; at most one thread of it passes at a time."""

    @telling_disk_errors()
    def __init__(self, directory: str) -> None:
        with contextlib.ExitStack() as opened:
            self._main = opened.enter_context(LockFile(f"{directory}/turnstile.main"))
            self._next = opened.enter_context(LockFile(f"{directory}/turnstile.next"))
            # Another opening than the one that is locked: a child of fork keeps what is mapped.
            with open(f"{directory}/turnstile.main", "r+b", buffering=0) as words_file:
                os.posix_fallocate(words_file.fileno(), 0, 16)  # a full disk could fill no hole
                self._map = mmap.mmap(words_file.fileno(), 16)
            opened.pop_all()
        words = memoryview(self._map).cast("Q")
        self.contended_until, self._kept_until = words[:1], words[1:]
        self.is_held = False
        self._since_ns = 0
        self._mutex = threading.Lock()

    def is_contended(self) -> bool:
        """Whether some process found the write lock taken a moment ago."""
        until = self.contended_until[0]
        if until == 0:
            return False
        if 0 < until - time.monotonic_ns() <= _CONTENDED_NS:  # else it may be from before a reboot
            return True
        self.contended_until[0] = 0  # an announcement lost here is made again at the next try
        return False

    def announce(self) -> None:
        """Tell every process that writers have to take turns for a while."""
        self.contended_until[0] = time.monotonic_ns() + _CONTENDED_NS

    def is_kept(self) -> bool:
        """Whether the keeper has the write lock, or will in a moment: soon it is free again."""
        return time.monotonic_ns() < self._kept_until[0]

    def was_kept_lately(self) -> bool:
        """Whether it is kept, or was a moment ago: who met the lock just now met the keeper's."""
        return time.monotonic_ns() < self._kept_until[0] + _LATELY_NS

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Within the block it is the keeper who takes the write lock."""
        self.note_keeper()
        try:
            yield
        finally:
            self.forget_keeper()

    def note_keeper(self) -> None:
        """The keeper has the write lock from here on."""
        # a limit, for it may be killed meanwhile, and nobody may succeed it
        self._kept_until[0] = time.monotonic_ns() + _KEEPING_NS

    def forget_keeper(self) -> None:
        """It has not, and waits for it; or it has ended, in the middle of a cycle perhaps."""
        self._kept_until[0] = time.monotonic_ns()

    def enter(self, timeout_seconds: float) -> float:
        """Wait for this process's turn; returns how much of the time is left.

        Only what is slept here is counted, as SQLite counts, and not while the keeper has the lock.

        Errors: DatabaseLockedError when it does not come in time.
        """
        with self._mutex:
            if self.is_held:
                return timeout_seconds
            left = self._wait_for(self._next, timeout_seconds)
            try:
                left = self._wait_for(self._main, left)
            finally:
                self._next.unlock()
            self.is_held = True
            self._since_ns = time.monotonic_ns()
            return left

    def _wait_for(self, lock_file: LockFile, left: float) -> float:
        pause = _FIRST_SLEEP_SECONDS
        while not lock_file.try_lock():
            if left <= 0:
                raise DatabaseLockedError("database is locked")
            time.sleep(pause)
            if not self.is_kept():
                left -= pause
            pause = min(pause * 2, _LONGEST_SLEEP_SECONDS)
        return left

    def leave(self, *, others_wait: bool) -> None:
        """End the turn, unless threads of this process wait and its time is not used up."""
        if not self.is_held:
            return
        if others_wait and time.monotonic_ns() - self._since_ns < _BATCH_NS:
            return
        with self._mutex:
            if self.is_held:
                self.is_held = False
                self._main.unlock()

    def close(self) -> None:
        """Give every lock back."""
        self.contended_until.release()
        self._kept_until.release()
        self._map.close()
        self._main.close()
        self._next.close()
