"""What SQLite raised: conditions of SQLite's own with a class of their own here."""

from __future__ import annotations

from dosql_core.errors.pep_249 import (
    Category,
    DatabaseError,
    DataError,
    InternalError,
    OperationalError,
)


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


class TooManyOpenFilesError(OperationalError):
    """No file could be opened: there are too many open already. Nothing is lost."""

    code = "DB_TOO_MANY_FILES"
    category = Category.RESOURCE
    is_retryable = True
    hint = "close what is not needed, or raise the limit (ulimit -n), then run it again"
    sqlite_errorcode = 14
    sqlite_errorname = "SQLITE_CANTOPEN"


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
    sqlite_errorcode = 6
    sqlite_errorname = "SQLITE_LOCKED"


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
