"""Locks that whole processes hold on each other, by files that are there for nothing else.

Such a lock belongs to the opening of its file, which a child of `fork` shares: were it not given up
there, it would be held until the last child has ended, though nobody is left who knows of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator

from dosql_core.errors import BranchInUseError
from dosql_core.storage.durable_files import telling_disk_errors

_opened: set[LockFile] = set()
_opening_lock = threading.RLock()  # the collector, or a signal, may come in between


class LockFile:
    """One opening of a lock file, which is made if need be; closing it gives the lock up."""

    @telling_disk_errors()
    def __init__(self, path: str | os.PathLike[str]) -> None:
        with _opening_lock:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            _opened.add(self)

    def lock(self) -> None:
        """Wait until this process has it alone."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def try_lock(self, *, shared: bool = False) -> bool:
        """Have it alone, or with others who share it; False when that is not possible now."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let others have it; it may be locked again."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def share_with(self, descriptor: int) -> None:
        """Be the same opening as `descriptor`, which another process gave this one, and close that.

        Then the lock is either's, and each has to know by other means whose turn it is.
        """
        with _opening_lock:
            os.dup2(descriptor, self.descriptor, inheritable=False)
        os.close(descriptor)

    def close(self) -> None:
        """Close it; nothing is done when that was done before, or this is a child of `fork`."""
        with _opening_lock:
            if self in _opened:
                _opened.remove(self)
                os.close(self.descriptor)
                self.descriptor = -1

    def __enter__(self) -> LockFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@contextlib.contextmanager
def exclusive_lock(path: str, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock file: wait for it, or with `refusal` give up at once.

    Errors: BranchInUseError saying `refusal`.
    """
    with LockFile(path) as lock_file:
        if refusal is None:
            lock_file.lock()
        elif not lock_file.try_lock():
            raise BranchInUseError(refusal, hint="close it there first")
        yield


def _leave_to_parent() -> None:
    for lock_file in _opened:
        os.close(lock_file.descriptor)
        lock_file.descriptor = -1
    _opened.clear()
    _opening_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_opening_lock.acquire,
        after_in_parent=_opening_lock.release,
        after_in_child=_leave_to_parent,
    )
