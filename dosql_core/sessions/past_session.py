"""A session on a branch as of one LSN; it only reads."""

from __future__ import annotations

from dataclasses import replace

from dosql_core.database import Database
from dosql_core.errors import ReadOnlyMomentError, WaitTimeoutError
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import Lsn
from dosql_core.kernel.connection import OPEN_READ_ONLY, OPEN_URI, KernelConnection, run
from dosql_core.kernel.past_vfs import CACHE_KIB_OF_A_CONNECTION, past_vfs, view_uri
from dosql_core.options import SessionOptions
from dosql_core.sessions.history_session import HistorySession


class PastSession(HistorySession):
    """A read-only connection to a branch as of one LSN."""

    def __init__(
        self, database: Database, resolved: ResolvedMoment, options: SessionOptions
    ) -> None:
        self.as_of = resolved.lsn
        name = past_vfs().register(database.known(resolved.branch_id).view(resolved.lsn))
        try:
            kernel = KernelConnection(
                view_uri(name),
                flags=OPEN_READ_ONLY | OPEN_URI,
                statementcachesize=options.cached_statements,
            )
            run(kernel, f"PRAGMA cache_size = -{CACHE_KIB_OF_A_CONNECTION}")
            run(kernel, "SELECT 1 FROM sqlite_schema LIMIT 1")
        finally:
            past_vfs().forget(name)
        super().__init__(database, resolved.branch_id, kernel, replace(options, read_only=True))

    @property
    def lsn(self) -> Lsn:
        assert self.as_of is not None
        return self.as_of

    def wait_for(self, lsn: int, timeout_seconds: float | None = None) -> Lsn:
        if lsn <= self.lsn:
            return self.lsn
        raise WaitTimeoutError(f"this connection reads LSN {self.lsn} for ever", hint="")

    def set_commit_metadata(self, author: str | None, message: str | None) -> None:
        raise ReadOnlyMomentError(
            "the past cannot be written", hint="use a connection without as_of"
        )

    def content_mark(self) -> tuple[int, ...]:
        return ()  # nothing ever changes here

    def describe_commit(self, **_changes: str | None) -> None:
        """Refuse SET COMMIT: nothing is ever committed here."""
        raise ReadOnlyMomentError(
            "the past cannot be written", hint="use a connection without as_of"
        )

    def close(self) -> None:
        self.kernel.close(True)
        self.database.close()
