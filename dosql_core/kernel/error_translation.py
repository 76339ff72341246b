"""apsw's errors become ours, once, where apsw is called; nothing above the kernel sees apsw's.

The PEP 249 parents follow the standard library's sqlite3, so that programs written for it catch
what they expect.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import apsw

from dosql_core.errors import (
    AccessDeniedError,
    BindingCountError,
    CannotOpenError,
    ConnectionClosedError,
    CorruptDatabaseError,
    CursorClosedError,
    DatabaseError,
    DatabaseLockedError,
    DataError,
    DiskError,
    DiskFullError,
    Error,
    ForkedConnectionError,
    IntegrityError,
    InterfaceError,
    InternalError,
    InterruptedStatementError,
    NotADatabaseError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    ReadOnlyMomentError,
    SchemaChangedError,
    SerializationFailure,
    TableLockedError,
    TooManyOpenFilesError,
    ValueTooLargeError,
    WrongThreadError,
)
from dosql_core.storage.durable_files import may_open_no_more

KernelError = apsw.Error
KernelAuthError = apsw.AuthError
KernelBindingsError = apsw.BindingsError
KernelBusyErrors = (apsw.BusyError, apsw.LockedError)
KernelConstraintError = apsw.ConstraintError
KernelClosedErrors = (apsw.CursorClosedError, apsw.ConnectionClosedError)
KernelThreadError = apsw.ThreadingViolationError
KernelTooBigError = apsw.TooBigError
KernelTraceAbort = apsw.ExecTraceAbort

PEP_249_CLASS: dict[type[apsw.Error], type[Error]] = {
    # SQLite's result codes
    apsw.SQLError: OperationalError,
    apsw.InternalError: InternalError,
    apsw.PermissionsError: OperationalError,
    apsw.AbortError: OperationalError,
    apsw.BusyError: DatabaseLockedError,
    apsw.LockedError: TableLockedError,
    apsw.NoMemError: OperationalError,  # becomes MemoryError below, as in the standard library
    apsw.ReadOnlyError: ReadOnlyMomentError,
    apsw.InterruptError: InterruptedStatementError,
    apsw.IOError: DiskError,
    apsw.CorruptError: CorruptDatabaseError,
    apsw.NotFoundError: InternalError,
    apsw.FullError: DiskFullError,
    apsw.CantOpenError: CannotOpenError,
    apsw.ProtocolError: OperationalError,
    apsw.EmptyError: OperationalError,
    apsw.SchemaChangeError: SchemaChangedError,
    apsw.TooBigError: ValueTooLargeError,
    apsw.ConstraintError: IntegrityError,
    apsw.MismatchError: IntegrityError,
    apsw.MisuseError: InterfaceError,
    apsw.NoLFSError: NotSupportedError,
    apsw.AuthError: AccessDeniedError,
    apsw.FormatError: DatabaseError,
    apsw.RangeError: InterfaceError,
    apsw.NotADBError: NotADatabaseError,
    # apsw's own
    apsw.BindingsError: BindingCountError,
    apsw.ConnectionClosedError: ConnectionClosedError,
    apsw.ConnectionNotClosedError: ProgrammingError,
    apsw.CursorClosedError: CursorClosedError,
    apsw.ExecTraceAbort: OperationalError,
    apsw.ExecutionCompleteError: ProgrammingError,
    apsw.ExtensionLoadingError: OperationalError,
    apsw.ForkingViolationError: ForkedConnectionError,
    apsw.IncompleteExecutionError: ProgrammingError,
    apsw.InvalidContextError: ProgrammingError,
    apsw.NoFTS5Error: NotSupportedError,
    apsw.ThreadingViolationError: WrongThreadError,
    apsw.VFSFileClosedError: InternalError,
    apsw.VFSNotImplementedError: NotSupportedError,
}
"""Every error class of apsw; tests/dbapi/test_error_translation.py sees to it."""

# What the texts of SQLITE_ERROR say, since SQLite gives them all one code: how the message begins,
# ends or what it contains, then our code and hint.
_Said = Callable[[str], bool]
_ERROR_TEXTS: tuple[tuple[_Said, str, str], ...] = (
    (
        lambda text: text.startswith(("no such table:", "no such view:")),
        "STMT_TABLE_NOT_FOUND",
        "look the name up in sqlite_schema; a table dropped since can be read AS OF a moment "
        "when it was there",
    ),
    (
        lambda text: text.startswith("no such column:") or " has no column named " in text,
        "STMT_COLUMN_NOT_FOUND",
        "compare with PRAGMA table_xinfo; a string is written in single quotes",
    ),
    (
        lambda text: (
            text.endswith(": syntax error")
            or text.startswith(("unrecognized token:", "incomplete input"))
        ),
        "STMT_SYNTAX",
        "the statement stops making sense at the text quoted",
    ),
    (
        lambda text: text.startswith("cannot start a transaction within a transaction"),
        "TXN_ALREADY_ACTIVE",
        "commit or roll back first, or nest with SAVEPOINT",
    ),
    (
        lambda text: text.startswith(("cannot commit - no", "cannot rollback - no")),
        "TXN_NO_ACTIVE",
        "there is nothing to end: no transaction was begun",
    ),
    (
        lambda text: text.startswith("no such savepoint:"),
        "TXN_SAVEPOINT_NOT_FOUND",
        "a savepoint ends with its RELEASE and with its transaction",
    ),
    (
        lambda text: text.startswith("no such function:"),
        "STMT_FUNCTION_NOT_FOUND",
        "register it with create_function() on this connection",
    ),
    (
        lambda text: text.startswith("too many attached databases"),
        "STMT_UNSUPPORTED",
        "every moment that a statement reads is one, and so is every attached database: read the "
        "other moments in another statement",
    ),
    (
        lambda text: text.startswith("no such index:"),
        "DB_QUERY_ERROR",
        "PRAGMA index_list(table) lists them, and as of a moment those that were there then",
    ),
    (
        lambda text: text.startswith("no such collation sequence:"),
        "DB_QUERY_ERROR",
        "register it with create_collation() on this connection",
    ),
    (
        lambda text: text.endswith("already exists"),
        "STMT_ALREADY_EXISTS",
        "write IF NOT EXISTS if that is fine",
    ),
)

_CONSTRAINT_HINTS = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: "a row with that value is there; ON CONFLICT says what to do",
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: "a row with that key is there; ON CONFLICT says what to do",
    apsw.SQLITE_CONSTRAINT_ROWID: "a row with that key is there; ON CONFLICT says what to do",
    apsw.SQLITE_CONSTRAINT_NOTNULL: "give the column a value, or a DEFAULT",
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: "the row referred to is missing, or others refer to this "
    "one; PRAGMA foreign_key_check lists them",
    apsw.SQLITE_CONSTRAINT_CHECK: "the value breaks the CHECK of the table",
    apsw.SQLITE_CONSTRAINT_DATATYPE: "a STRICT table takes only values of the column's type",
}


# A table of an attached past, as SQLite names it in an error: see AttachedViews.
_ATTACHED_PAST = re.compile(r"_dosql_[^.\s]+_(\d+)\.(\S+)")


def met_a_lock(error: Exception) -> bool:
    """Whether SQLite found main locked; not that a transaction reads what is no longer newest."""
    return getattr(error, "extendedresult", None) == apsw.SQLITE_BUSY


def result_code_name(code: int) -> str:
    """SQLite's name of a result code, the extended one where it has one."""
    name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(
        code & 0xFF
    )
    return str(name) if name is not None else "unknown"


def result_code(error: apsw.Error) -> int:
    """SQLite's primary result code, or SQLITE_ERROR when the error is apsw's own."""
    return int(getattr(error, "result", apsw.SQLITE_ERROR))


def translate(error: apsw.Error) -> Error | MemoryError:
    """Our error for one of apsw's, with the same message; raise it `from` the one given."""
    raised = type(error)
    if raised is apsw.NoMemError:
        return MemoryError(str(error))
    message = _ATTACHED_PAST.sub(r"\2 (as of LSN \1)", str(error))
    code = getattr(error, "extendedresult", None)
    ours = _with_code_of_its_own(raised, message, code)
    if code is not None:
        ours.sqlite_errorcode = code
        ours.sqlite_errorname = result_code_name(code)
    return ours


def _with_code_of_its_own(raised: type[apsw.Error], message: str, code: int | None) -> Error:
    pep_249_class = PEP_249_CLASS.get(raised, DatabaseError)
    if raised is apsw.BusyError and code == apsw.SQLITE_BUSY_SNAPSHOT:
        return SerializationFailure(
            "this transaction began by reading, another connection has committed since, and what "
            "was read is out of date: it cannot write any more"
        )
    if raised is apsw.CantOpenError and may_open_no_more():
        return TooManyOpenFilesError(f"{message}: too many open files")
    if raised is apsw.SQLError:
        for is_said, our_code, hint in _ERROR_TEXTS:
            if is_said(message):
                return pep_249_class(message, code=our_code, hint=hint)
    if raised is apsw.ConstraintError and code is not None:
        return pep_249_class(message, hint=_CONSTRAINT_HINTS.get(code, ""))
    if raised is apsw.TooBigError and message.startswith(("string or blob", "statement too")):
        return pep_249_class(message, hint="the limit is getlimit(SQLITE_LIMIT_LENGTH) bytes")
    if pep_249_class is DataError:
        return DataError(message)
    return pep_249_class(message)
