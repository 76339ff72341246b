"""Every exception of DoSQL, rooted in PEP 249; nothing here raises them.

Each class states what the caller should do next by its PEP 249 parent, carries a stable `code`, a
`hint` and whether trying again can help (`is_retryable`). Errors that SQLite raised also carry
`sqlite_errorcode` and `sqlite_errorname`, as in the standard library's sqlite3.

The ten classes of PEP 249 also derive from the standard library's, so that a program or a library
that says `except sqlite3.IntegrityError` goes on working (docs/decisions/0006).
"""

from __future__ import annotations

import datetime
import enum
import sqlite3
from typing import Any, ClassVar

from dosql_core.identifiers import Lsn


class Category(enum.Enum):
    """What kind of thing went wrong, for programs that sort errors rather than read them."""

    CONNECTION = "CONNECTION"
    EXECUTION = "EXECUTION"
    VALIDATION = "VALIDATION"
    RESOURCE = "RESOURCE"
    CONFLICT = "CONFLICT"
    TIMEOUT = "TIMEOUT"
    INTERNAL = "INTERNAL"


class Warning(sqlite3.Warning):
    """An important warning, such as data truncated while inserting (PEP 249)."""


class Error(sqlite3.Error):
    """Base of every error of DoSQL (PEP 249).

    `code`, `category`, `hint` and `is_retryable` are the class's; a raiser may override `code` and
    `hint` for one instance with keyword arguments.
    """

    code: str = "DB_QUERY_ERROR"
    category: ClassVar[Category] = Category.EXECUTION
    hint: str = ""
    is_retryable: bool = False
    sqlite_errorcode: int
    sqlite_errorname: str

    def __init__(self, *args: Any, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint

    def to_user_message(self) -> str:
        """The message, followed by the hint when there is one."""
        return f"{self}\nhint: {self.hint}" if self.hint else str(self)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values that tells the whole error.

        Shape: keys error, code, category, message, hint, is_retryable, timestamp, and the two
        sqlite_* keys where SQLite raised it.
        """
        told: dict[str, Any] = {
            "error": type(self).__name__,
            "code": self.code,
            "category": self.category.value,
            "message": str(self),
            "hint": self.hint,
            "is_retryable": self.is_retryable,
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(),
        }
        for name in ("sqlite_errorcode", "sqlite_errorname"):
            if hasattr(self, name):
                told[name] = getattr(self, name)
        return told


class InterfaceError(Error, sqlite3.InterfaceError):
    """The driver was called in a way that has no meaning (PEP 249)."""

    code = "BIND_INVALID_TYPE"
    category = Category.VALIDATION


class DatabaseError(Error, sqlite3.DatabaseError):
    """Something went wrong in the database (PEP 249)."""


class DataError(DatabaseError, sqlite3.DataError):
    """A value cannot be processed: correct the value (PEP 249)."""

    code = "BIND_TYPE_MISMATCH"
    category = Category.VALIDATION


class OperationalError(DatabaseError, sqlite3.OperationalError):
    """The database could not do it now: retry, wait, or look at the machine (PEP 249)."""


class IntegrityError(DatabaseError, sqlite3.IntegrityError):
    """A constraint was violated (PEP 249)."""

    code = "DB_CONSTRAINT"
    category = Category.CONFLICT


class InternalError(DatabaseError, sqlite3.InternalError):
    """The stored bytes or our own reasoning are wrong: restore and report (PEP 249)."""

    code = "DB_INTERNAL"
    category = Category.INTERNAL


class ProgrammingError(DatabaseError, sqlite3.ProgrammingError):
    """The call or the SQL is wrong: correct it (PEP 249)."""

    code = "STMT_INVALID_SQL"
    category = Category.VALIDATION


class NotSupportedError(DatabaseError, sqlite3.NotSupportedError):
    """DoSQL or this database cannot do that: do it another way (PEP 249)."""

    code = "STMT_UNSUPPORTED"
    category = Category.VALIDATION


# -- opening and the files -------------------------------------------------------------------------


class DatabaseNotFoundError(OperationalError):
    """No database at the path, and creating one was not asked for."""

    code = "DB_NOT_FOUND"
    category = Category.CONNECTION
    hint = "check the path, or open it with create=True"


class CannotOpenError(OperationalError):
    """The file or its directory cannot be opened as a DoSQL database."""

    code = "DB_CONNECTION_FAILED"
    category = Category.CONNECTION
    hint = "check the path, that its directory exists, and the permissions of both"
    sqlite_errorcode = 14
    sqlite_errorname = "SQLITE_CANTOPEN"


class ConfigurationError(ProgrammingError):
    """An option has a value that means nothing here."""

    code = "DB_CONFIG_ERROR"
    hint = "help(dosql_dbapi.Connection) tells the options and their values"


class FormatVersionError(NotSupportedError):
    """A file was written by a version of DoSQL this one does not know."""

    code = "DB_FORMAT_VERSION"
    hint = "open it with the newer DoSQL that wrote it"


class ForeignDirectoryError(CannotOpenError):
    """The `-dosql` directory beside the file belongs to another database."""

    code = "DB_IDENTITY_MISMATCH"
    hint = "put back the file it belongs to, or move the directory away to begin a new history"


class CorruptStoreError(InternalError):
    """Stored bytes of history, refs or a page map fail their checksum or make no sense."""

    code = "WAL_SEGMENT_CORRUPTED"
    hint = "run `dosql verify` to see the extent; restore the file named from a backup"


class MissingSegmentError(CorruptStoreError):
    """A file of history that must be there is not."""

    code = "WAL_SEGMENT_NOT_FOUND"


class LostCommitsError(CorruptStoreError):
    """The head lost commits that history had already recorded."""

    code = "WAL_RECOVERY_FAILED"
    hint = "rebuild the head from history: `dosql restore --rebuild-head`"


class DatabasePoisonedError(OperationalError):
    """A sync failed: whether the last commits are durable is unknown; reopen the database."""

    code = "TXN_WAL_FAILURE"
    category = Category.RESOURCE
    hint = "close every connection and open the database again; check the disk first"


class ForkedConnectionError(ProgrammingError):
    """A connection opened before `fork()` was used in the child."""

    code = "DB_FORKED"
    hint = "open connections after the fork, one set per process"


# -- what SQLite raised ----------------------------------------------------------------------------


class NotADatabaseError(DatabaseError):
    """The file is not a SQLite database, or it is encrypted."""

    code = "DB_NOT_A_DATABASE"
    category = Category.CONNECTION
    hint = "check the path; a stock SQLite file begins with 'SQLite format 3'"


class CorruptDatabaseError(InternalError):
    """SQLite found the head itself damaged."""

    code = "DB_CORRUPT"
    hint = "run `dosql verify`; a head can be rebuilt from history with `dosql restore`"


class DiskError(OperationalError):
    """The operating system failed to read, write or lock a file."""

    code = "DB_IO_ERROR"
    category = Category.RESOURCE
    hint = "look at the disk and at the system's log"


class DiskFullError(OperationalError):
    """No space left; the transaction that met it was rolled back."""

    code = "DB_DISK_FULL"
    category = Category.RESOURCE
    is_retryable = True
    hint = "free some space, then run the transaction again"


class AccessDeniedError(DatabaseError):
    """The authorizer of the connection refused the statement."""

    code = "DB_NOT_AUTHORIZED"
    category = Category.VALIDATION
    hint = "the callback given to set_authorizer() decides: allow the action there"


class InterruptedStatementError(OperationalError):
    """`interrupt()`, a progress handler or a cancelled task stopped the statement."""

    code = "STMT_INTERRUPTED"
    is_retryable = True
    hint = "run it again when the interruption was not meant for it"


class TableLockedError(OperationalError):
    """Another statement of this connection still uses the table."""

    code = "TXN_LOCK_FAILED"
    category = Category.CONFLICT
    hint = "fetch the rest of the other cursor's rows, or close it"


class SchemaChangedError(OperationalError):
    """The schema changed while the statement ran."""

    code = "STMT_SCHEMA_CHANGED"
    category = Category.CONFLICT
    is_retryable = True
    hint = "run the statement again"


class ValueTooLargeError(DataError):
    """A value, or the text of a statement, is over SQLite's limit."""

    code = "BIND_TOO_LARGE"
    hint = "getlimit() tells the limits of the connection"


# -- the connection and its cursors ----------------------------------------------------------------


class ConnectionClosedError(ProgrammingError):
    """The connection is closed."""

    code = "DB_CLOSED"
    category = Category.CONNECTION
    hint = "open a new one with connect()"


class ClosedAsyncConnectionError(ConnectionClosedError, ValueError):
    """The asynchronous connection is closed, or was not awaited yet; a ValueError in aiosqlite."""


class CursorClosedError(ProgrammingError):
    """The cursor is closed."""

    code = "STMT_FINALIZED"
    hint = "make a new one with cursor()"


class WrongThreadError(ProgrammingError):
    """The connection belongs to another thread."""

    code = "DB_WRONG_THREAD"
    hint = "open one connection a thread, or connect with check_same_thread=False"


class BindingCountError(ProgrammingError):
    """More or fewer parameters were given than the statement has."""

    code = "BIND_COUNT_MISMATCH"
    hint = "give one value for each parameter of the statement"


class MissingParameterError(ProgrammingError):
    """A named parameter of the statement was not given."""

    code = "BIND_MISSING_PARAM"
    hint = "give a mapping with a value for every :name of the statement"


class UnsupportedParameterError(ProgrammingError):
    """A parameter has a type that SQLite does not store and that has no adapter."""

    code = "BIND_INVALID_TYPE"
    hint = "convert it, or register an adapter with register_adapter()"


class MissingExtraError(NotSupportedError):
    """What was asked for needs a package that is not installed."""

    code = "DB_MISSING_EXTRA"
    hint = "install the extra it names"

    def __init__(self, need: str, extra: str) -> None:
        super().__init__(need, extra)
        self.need = need
        self.extra = extra
        self.hint = f"pip install 'dosql[{extra}]'"

    def __str__(self) -> str:
        return f"{self.need}, which is not installed"


# -- time travel -----------------------------------------------------------------------------------


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


# -- branches and snapshots ------------------------------------------------------------------------


class BranchNotFoundError(OperationalError):
    """No branch has that name."""

    code = "BRANCH_NOT_FOUND"
    category = Category.VALIDATION
    hint = "SHOW BRANCHES lists them"


class BranchExistsError(ProgrammingError):
    """A branch of that name is already there."""

    code = "BRANCH_EXISTS"
    category = Category.CONFLICT
    hint = "choose another name, or CREATE BRANCH IF NOT EXISTS"


class InvalidBranchNameError(ProgrammingError):
    """The name breaks the rules for branch names."""

    code = "INVALID_BRANCH_NAME"
    hint = "1 to 255 characters; no '..', no '.lock' ending, no leading '.', '_' or 'refs/'"


class BranchProtectedError(OperationalError):
    """The branch is protected."""

    code = "BRANCH_PROTECTED"
    category = Category.CONFLICT
    hint = "ALTER BRANCH name UNPROTECT lifts the protection"


class BranchInUseError(OperationalError):
    """The branch is open, or others fork from it."""

    code = "CANNOT_DELETE_CURRENT"
    category = Category.CONFLICT
    hint = "close its connections, and drop the branches that fork from it first"


class UncommittedChangesError(OperationalError):
    """The connection has a transaction open that the operation would lose."""

    code = "UNCOMMITTED_CHANGES"
    category = Category.CONFLICT
    hint = "commit or roll back first"


class SnapshotExistsError(ProgrammingError):
    """A snapshot of that name is already there."""

    code = "TT_SNAPSHOT_EXISTS"
    category = Category.CONFLICT
    hint = "choose another name, or CREATE SNAPSHOT IF NOT EXISTS"


# -- transactions ----------------------------------------------------------------------------------


class DatabaseLockedError(OperationalError):
    """Somebody else kept the write lock longer than the timeout."""

    code = "TXN_LOCK_TIMEOUT"
    category = Category.TIMEOUT
    is_retryable = True
    hint = "try again, or raise `timeout`"
    sqlite_errorcode = 5  # the queue of writers raises it, too, where SQLite never got to
    sqlite_errorname = "SQLITE_BUSY"


class SerializationFailure(OperationalError):
    """A transaction that began by reading cannot write: somebody committed since it read."""

    code = "TXN_SERIALIZATION_FAILURE"
    category = Category.CONFLICT
    is_retryable = True
    hint = "roll back and run the transaction again; BEGIN IMMEDIATE avoids it"


class TransactionTimeoutError(OperationalError):
    """The transaction ran longer than it was given and was rolled back."""

    code = "TXN_TIMEOUT"
    category = Category.TIMEOUT
    is_retryable = True
    hint = "give the transaction more time, or do less in it"


# -- retention -------------------------------------------------------------------------------------


class RetentionPolicyError(ProgrammingError):
    """A retention policy that cannot be followed."""

    code = "RETENTION_INVALID_POLICY"
    hint = "a limit is a number above zero, or None for no limit"


# -- differences and change streams ----------------------------------------------------------------


class TableNotFoundError(ProgrammingError):
    """Neither moment of a comparison has the table."""

    code = "STMT_TABLE_NOT_FOUND"
    hint = "look the name up in sqlite_schema, as of both moments"


class ChangesNotKeptError(OperationalError):
    """The commits from which changes were asked for are no longer kept, or never were."""

    code = "CDC_LSN_NOT_FOUND"
    hint = "a slot keeps what it still needs; without one, begin at a moment that is kept"


class SlotNotFoundError(OperationalError):
    """No slot has that name."""

    code = "CDC_SLOT_NOT_FOUND"
    hint = "list the slots there are"


class SlotExistsError(ProgrammingError):
    """A slot of that name exists already."""

    code = "CDC_SLOT_EXISTS"
    category = Category.CONFLICT
    hint = "choose another name, or go on with the one there is"


class SlotInUseError(OperationalError):
    """Another consumer, here or in another process, is reading from the slot."""

    code = "CDC_SUBSCRIPTION_FAILED"
    category = Category.CONFLICT
    is_retryable = True
    hint = "close the other consumer; one that died lets go by itself"


class SlotLostError(OperationalError):
    """The slot lagged behind its limit, so changes it had not read were let go."""

    code = "CDC_BUFFER_OVERFLOW"
    hint = "drop the slot, copy the tables as they are now, and make it again"


# -- merging ---------------------------------------------------------------------------------------


class MergeConflictError(OperationalError):
    """Both branches changed something in ways that contradict; nothing was merged.

    Shape: `conflicts` are `dosql_core.merging.three_way.Conflict`.
    """

    code = "MERGE_CONFLICT"
    category = Category.CONFLICT
    hint = "look at the conflicts, then merge again with USING OURS, USING THEIRS or a policy"

    def __init__(self, message: str, conflicts: Any = ()) -> None:
        super().__init__(message)
        self.conflicts = list(conflicts)
