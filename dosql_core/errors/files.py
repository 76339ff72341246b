"""Opening and the files: what can be wrong with them."""

from __future__ import annotations

from dosql_core.errors.pep_249 import (
    Category,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)


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
