"""Many committers, one fdatasync of the WAL; nothing here decides what a commit is.

SQLite runs at synchronous=NORMAL; a sync of the WAL after a commit covers every commit before it,
other processes' too. The first committer to come syncs; those who come meanwhile share the next.
"""

from __future__ import annotations

import os
import threading
from typing import NoReturn

from dosql_core.errors import DatabasePoisonedError


class GroupCommit:
    """Waits until the commits made so far are on stable storage."""

    def __init__(self, wal_path: str) -> None:
        self._wal_path = wal_path
        self._descriptor = -1
        self._condition = threading.Condition()
        self._asked = 0
        self._synced = 0
        self._is_syncing = False
        self.failure: OSError | None = None
        """Why a sync failed; then nothing may be written until the database is reopened."""

    def wait(self) -> None:
        """Return when every commit made before this call is durable.

        Errors: DatabasePoisonedError when a sync failed, now or before: it is never tried again,
                because the kernel may have dropped the pages it could not write.
        """
        with self._condition:
            self._asked += 1
            mine = self._asked
            while self._synced < mine:
                self._tell_failure()
                if not self._is_syncing:
                    break
                self._condition.wait()
            else:
                return
            self._is_syncing = True
            covered = self._asked
        failure: OSError | None = None
        try:
            self._sync()
        except OSError as error:
            failure = error
        with self._condition:
            self._is_syncing = False
            if failure is None:
                self._synced = max(self._synced, covered)
            else:
                self.failure = failure
            self._condition.notify_all()
            self._tell_failure()

    def _tell_failure(self) -> None:
        if self.failure is not None:
            raise DatabasePoisonedError(
                f"the WAL could not be synced ({self.failure}); whether the last commits are "
                "durable is unknown"
            ) from self.failure

    def refuse_commit(self) -> NoReturn:
        """Errors: DatabasePoisonedError for a commit that was not made because of `failure`."""
        raise DatabasePoisonedError(
            f"nothing was written: an earlier sync of the WAL failed ({self.failure})"
        ) from self.failure

    def _sync(self) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self._wal_path, os.O_RDONLY)
            # a connection at synchronous=OFF may have made the file without syncing its name
            directory = os.open(os.path.dirname(self._wal_path) or ".", os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        os.fdatasync(self._descriptor)

    def forget_file(self) -> None:
        """Close the descriptor: the WAL may be another file from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
