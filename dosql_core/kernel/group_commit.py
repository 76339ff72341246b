"""Many committers, one fdatasync of the WAL; nothing here decides what a commit is.

SQLite runs at synchronous=NORMAL; a sync of the WAL after a commit covers every commit before it,
other processes' too. The first committer to come syncs; those who come meanwhile share the next,
which one of them makes. Each of them is woken once: waking a thread costs as much as a commit.
"""

from __future__ import annotations

import os
import threading
from typing import NoReturn

from dosql_core.errors import DatabasePoisonedError
from dosql_core.storage.durable_files import telling_disk_errors


class _Committer:
    """Somebody whose commit has to become durable.

    Shape: `turn` is free when it is, when that failed, or when it is up to him to sync: then
           `followers` are those for whom he does it.
    """

    __slots__ = ("failure", "followers", "is_gone", "turn")

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.followers: list[_Committer] | None = None
        self.failure: OSError | None = None
        self.is_gone = False


class GroupCommit:
    """Waits until the commits made so far are on stable storage."""

    def __init__(self, wal_path: str) -> None:
        self._wal_path = wal_path
        self._descriptor = -1
        self._directory: int | None = None  # of the WAL; until it is synced
        self._lock = threading.Lock()
        self._is_syncing = False
        self._waiting: list[_Committer] = []  # who came since the sync that runs now began
        self.failure: OSError | None = None
        """Why a sync failed; then nothing may be written until the database is reopened."""

    def wait(self) -> None:
        """Return when every commit made before this call is durable.

        Errors: DatabasePoisonedError when a sync failed, now or before: it is never tried again,
                because the kernel may have dropped the pages it could not write;
                TooManyOpenFilesError when the file could not be opened, which may be tried again.
        """
        committer = _Committer()
        try:
            self._line_up(committer)
            committer.turn.acquire()
        finally:  # also after Ctrl-C: nobody must wait for one who does not wait any more
            with self._lock:
                committer.is_gone = True
            if committer.followers is not None:
                self._sync_for(committer.followers)
        self._tell(committer.failure)

    def _line_up(self, committer: _Committer) -> None:
        with self._lock:
            self._tell(self.failure)
            self._waiting.append(committer)
            if not self._is_syncing:
                self._have_the_next_sync()

    def _sync_for(self, followers: list[_Committer]) -> None:
        """Sync, tell the followers, and have one of those who came meanwhile do the same."""
        failure: OSError | None = None
        told, untold = followers, list[_Committer]()
        try:
            self._sync()
        except OSError as error:
            failure = error
        except BaseException:  # Ctrl-C: whether it was over nobody knows, so it is done again
            told, untold = untold, told
            raise
        finally:
            self._hand_on(told, untold, failure)
        self._tell(failure)

    def _hand_on(
        self, told: list[_Committer], untold: list[_Committer], failure: OSError | None
    ) -> None:
        with self._lock:
            if failure is not None:
                self.failure = failure
                told, self._waiting = told + self._waiting, []
            self._waiting += untold
            self._have_the_next_sync()
        for committer in told:
            committer.failure = failure
            committer.turn.release()

    def _have_the_next_sync(self) -> None:
        """Let one of those who wait sync for all of them; call with the lock held."""
        waiting = [committer for committer in self._waiting if not committer.is_gone]
        self._waiting = []
        self._is_syncing = bool(waiting)
        if waiting:
            leader, *leader_followers = waiting
            leader.followers = leader_followers
            leader.turn.release()

    @staticmethod
    def _tell(failure: OSError | None) -> None:
        if failure is not None:
            raise DatabasePoisonedError(
                f"the WAL could not be synced ({failure}); whether the last commits are "
                "durable is unknown"
            ) from failure

    def refuse_commit(self) -> NoReturn:
        """Errors: DatabasePoisonedError for a commit that was not made because of `failure`."""
        raise DatabasePoisonedError(
            f"nothing was written: an earlier sync of the WAL failed ({self.failure})"
        ) from self.failure

    @telling_disk_errors()
    def open_file(self) -> None:
        """Open what a sync needs, which must be there when a commit has been made.

        Errors: TooManyOpenFilesError.
        """
        directory = os.open(os.path.dirname(self._wal_path) or ".", os.O_RDONLY)
        try:
            self._descriptor = os.open(self._wal_path, os.O_RDONLY)
        except BaseException:
            os.close(directory)
            raise
        self._directory = directory

    def _sync(self) -> None:
        if self._descriptor < 0:
            self.open_file()
        if self._directory is not None:
            # a connection at synchronous=OFF may have made the file without syncing its name
            os.fsync(self._directory)
            os.close(self._directory)
            self._directory = None
        os.fdatasync(self._descriptor)

    def forget_file(self) -> None:
        """Close what was opened: the WAL may be another file from now on."""
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
