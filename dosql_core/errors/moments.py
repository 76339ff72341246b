"""Time travel: moments that cannot be read, and what there is instead."""

from __future__ import annotations

from dosql_core.errors.pep_249 import (
    Category,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from dosql_core.identifiers import Lsn


class TimeTravelSyntaxError(ProgrammingError):
    """AS OF is written wrongly, or stands where it cannot."""

    code = "TT_INVALID_SYNTAX"
    hint = "a moment is LSN 5, TIMESTAMP '...', SNAPSHOT 'name', BRANCH 'name': docs/sql.md"


class FutureMomentError(OperationalError):
    """The moment asked for has not happened yet."""

    code = "TT_FUTURE_POINT"
    category = Category.VALIDATION
    hint = "ask for a moment up to now; `dosql log` lists the commits"


class LsnNotAvailableError(OperationalError):
    """The branch has no commit with that LSN."""

    code = "TT_LSN_NOT_AVAILABLE"
    category = Category.VALIDATION
    hint = "`dosql log` and SELECT * FROM dosql_log list the commits"


class MomentNotFoundError(OperationalError):
    """No commit is as old as the moment asked for, or the moment cannot be understood."""

    code = "TT_POINT_NOT_FOUND"
    category = Category.VALIDATION
    hint = "`dosql log` and SELECT * FROM dosql_log tell when the commits were made"


class SnapshotNotFoundError(OperationalError):
    """No snapshot has that name."""

    code = "TT_SNAPSHOT_NOT_FOUND"
    category = Category.VALIDATION
    hint = "SHOW SNAPSHOTS lists them"


class MomentBranchNotFoundError(OperationalError):
    """AS OF names a branch that does not exist."""

    code = "TT_BRANCH_NOT_FOUND"
    category = Category.VALIDATION
    hint = "SHOW BRANCHES lists them"


class HistoryExpiredError(OperationalError):
    """The moment asked for is older than the branch still keeps."""

    code = "TT_DATA_GAP"
    category = Category.RESOURCE
    hint = "ask for a later moment, or keep more: `dosql compact --help` tells the retention"

    def __init__(self, asked: Lsn, oldest: Lsn, oldest_at: str = "") -> None:
        super().__init__(asked, oldest, oldest_at)
        self.asked = asked
        self.oldest = oldest
        self.oldest_at = oldest_at

    def __str__(self) -> str:
        when = f" ({self.oldest_at})" if self.oldest_at else ""
        return (
            f"LSN {self.asked} is no longer kept; "
            f"the oldest moment available is LSN {self.oldest}{when}"
        )


class NoHistoryError(NotSupportedError):
    """The database was opened with history=False, or is in memory without any."""

    code = "TT_NO_HISTORY"
    hint = "open it with history=True"


OPENED_READ_ONLY = "connect without read_only or mode=ro to write"
"""The hint of a refusal that nothing on this connection can lift."""


class ReadOnlyMomentError(OperationalError):
    """A write to the past, to a read-only transaction or to a read-only connection."""

    code = "DB_READ_ONLY"
    category = Category.VALIDATION
    hint = "SET TRANSACTION READ WRITE allows writes again; or connect without read_only and as_of"


class WaitTimeoutError(OperationalError):
    """The LSN waited for did not appear in time."""

    code = "TT_TIMEOUT"
    category = Category.TIMEOUT
    is_retryable = True
    hint = "wait longer, or see whether the writer has committed"
