"""What happens when the kernel refuses: wait and run again, move to a new kernel, or translate.

The kernel's exceptions never leave the driver. Nothing here keeps an exception in a local name
longer than needed: a frame that holds the exception that holds the frame would keep the cursor, and
with it the statement, alive until the garbage collector runs.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from dosql_core.errors import (
    BindingCountError,
    ConnectionClosedError,
    CursorClosedError,
    DatabaseLockedError,
    Error,
    ForkedConnectionError,
    MissingParameterError,
    OperationalError,
    ProgrammingError,
    ReadOnlyMomentError,
    UnsupportedParameterError,
    WrongThreadError,
)
from dosql_core.errors.moments import OPENED_READ_ONLY
from dosql_core.kernel.error_translation import (
    KernelAuthError,
    KernelBindingsError,
    KernelClosedErrors,
    KernelConstraintError,
    KernelError,
    KernelThreadError,
    KernelTooBigError,
    met_a_lock,
    translate,
)
from dosql_dbapi.user_functions import callback_failure

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection
    from dosql_dbapi.cursor import Cursor

CLOSED_CONNECTION = "Cannot operate on a closed database."
CLOSED_CURSOR = "Cannot operate on a closed cursor."
RECURSIVE_USE = "Recursive use of cursors not allowed."

# The owner's statement goes on, with the row that waits and the turn it holds.
_NOT_THIS_CALLERS = (WrongThreadError, ForkedConnectionError)

_FIRST_WAIT_SECONDS = 0.0001
_LONGEST_WAIT_SECONDS = 0.005


def connection_of(cursor: Cursor) -> Connection:
    """The connection of a cursor that was made properly."""
    connection: Connection | None = getattr(cursor, "_connection", None)
    if connection is None:
        raise ProgrammingError("Base Cursor.__init__ not called.")
    return connection


def many_failed(cursor: Cursor, sql: str, error: Exception) -> NoReturn:
    """Raise what went wrong inside executemany, where nothing can be run again."""
    cursor._rowcount = -1
    if isinstance(error, KernelThreadError) and "Re-using a cursor" in str(error):
        raise ProgrammingError(RECURSIVE_USE) from error
    connection = cursor._connection
    is_just_begun, connection._is_just_begun = connection._is_just_begun, False
    if is_just_begun:
        _undo_beginning(connection, sql, error)
    connection._after_failure()
    raise_translated(cursor, {}, error)


def _undo_beginning(connection: Connection, sql: str, error: Exception) -> None:
    """Have no transaction open for a statement that SQLite refuses to compile."""
    if isinstance(error, KernelConstraintError):
        return  # so it ran; that is what fails most
    if connection._plans.statement(sql).as_of is None:  # else SQLite did not get this text
        connection._undo_beginning(sql)


def recover(cursor: Cursor, sql: Any, parameters: Any, error: Exception) -> None:
    """Run the statement after all, or raise what went wrong in our words."""
    if isinstance(error, AttributeError) and not hasattr(cursor, "_connection"):
        raise ProgrammingError("Base Cursor.__init__ not called.") from None
    if isinstance(error, _NOT_THIS_CALLERS):
        raise error
    connection = cursor._connection
    is_just_begun, connection._is_just_begun = connection._is_just_begun, False
    cursor._row = None
    if isinstance(error, KernelThreadError):
        if "Re-using a cursor" in str(error):
            raise ProgrammingError(RECURSIVE_USE) from error
        wait_for_other_thread(connection, error)
        cursor.execute(sql, parameters)
        return
    if isinstance(error, KernelClosedErrors) and connection._has_moved(cursor):
        execute_elsewhere(cursor, connection, sql, parameters)
        return
    if met_a_lock(error) and _runs_after_the_keeper(cursor, sql, parameters):
        return
    if is_just_begun:
        _undo_beginning(connection, sql, error)
    connection._after_failure()
    if isinstance(error, KernelAuthError) and connection._session.take_the_past_away():
        with connection._session.reading_the_past():
            cursor.execute(sql, parameters)
        return
    cursor._rowcount = -1
    if isinstance(error, UnicodeDecodeError):  # its column is worth knowing
        cursor._described = sql
    else:
        cursor._described = None
    raise_translated(cursor, parameters, error)


def _runs_after_the_keeper(cursor: Cursor, sql: str, parameters: Any) -> bool:
    """Whether a write that found main locked ran after all, the lock having been the keeper's."""
    connection = cursor._connection
    if connection._is_outlasting_keeper:
        return False
    connection._is_outlasting_keeper = True
    try:
        while connection._session.outlast_keeper():
            with contextlib.suppress(DatabaseLockedError):
                cursor.execute(sql, parameters)
                return True
    finally:
        connection._is_outlasting_keeper = False
    return False


def compile_without_the_past(connection: Connection, sql: str) -> None:
    """See to it that a statement whose parameters can be read only once finds no table of the past.

    Errors: OperationalError when the table it names is in a past that is being read only.
    """
    if not connection._session.has_attached_the_past:
        return
    try:
        connection._compile(sql)
    except KernelAuthError:
        connection._session.take_the_past_away()
    except KernelError:
        pass  # the statement itself will say so


def fetch_failed(cursor: Cursor, error: Exception) -> NoReturn:
    """Raise what went wrong while stepping; the statement is over."""
    if isinstance(error, _NOT_THIS_CALLERS):
        raise error
    cursor._row = None
    if isinstance(error, AttributeError) and not hasattr(cursor, "_connection"):
        raise ProgrammingError("Base Cursor.__init__ not called.") from None
    if isinstance(error, KernelThreadError) and "Re-using a cursor" in str(error):
        raise ProgrammingError(RECURSIVE_USE) from error
    cursor._connection._after_failure()
    raise_translated(cursor, (), error)


def raise_translated(cursor: Cursor, parameters: Any, error: Exception) -> NoReturn:
    """Raise one of our errors for one of the kernel's; anything else as it is."""
    connection = cursor._connection
    if isinstance(error, Error):
        raise error
    if isinstance(error, UnicodeDecodeError):
        raise _undecodable(cursor, error) from error
    if isinstance(error, KernelClosedErrors):
        if connection._is_closed:
            raise ConnectionClosedError(CLOSED_CONNECTION) from None
        raise CursorClosedError(CLOSED_CURSOR) from None
    if isinstance(error, KernelBindingsError):
        raise _binding_count(error) from None
    if isinstance(error, KernelTooBigError) and connection._is_text_too_long(error):
        raise translate_text_too_long(error) from error
    if isinstance(error, KernelError):
        raise translated_for(connection, error) from error
    failure = callback_failure(connection._callbacks, error)
    if failure is not None:
        raise failure from error
    if isinstance(error, KeyError) and isinstance(parameters, Mapping):
        raise MissingParameterError(
            f"You did not supply a value for binding parameter :{error.args[0]}."
        ) from None
    if isinstance(error, OverflowError) and "too big to convert" in str(error):
        raise OverflowError("Python int too large to convert to SQLite INTEGER") from None
    if isinstance(error, TypeError) and str(error).startswith("Bad binding argument"):
        raise UnsupportedParameterError(str(error)) from None
    raise error


def translated_for(connection: Any, failure: KernelError) -> Exception:
    """One of our errors for one of the kernel's; a refused write says why it was."""
    error = translate(failure)
    if not isinstance(error, ReadOnlyMomentError):
        return error
    as_of = connection._session.as_of
    if as_of is not None:
        error.args = (f"the past cannot be written, and this connection reads LSN {as_of}",)
        error.hint = f"CREATE BRANCH ... AS OF LSN {as_of} makes a place to go on from there"
    elif connection._session.read_only:
        error.hint = OPENED_READ_ONLY
    return error


def translate_text_too_long(error: Exception) -> Error:
    """SQLite says "string or blob too big" of a statement's text too; sqlite3 tells them apart."""
    translated = translate(error)  # type: ignore[arg-type]
    translated.args = ("query string is too large",)
    assert isinstance(translated, Error)
    return translated


def _undecodable(cursor: Cursor, error: UnicodeDecodeError) -> OperationalError:
    shown = error.object.decode("utf-8", "replace")
    names = [column[0] for column in cursor.description or ()]
    # The kernel does not say which of several columns it was.
    column = f" column '{names[0]}'" if len(names) == 1 else ""
    return OperationalError(
        f"Could not decode to UTF-8{column} with text '{shown}'",
        hint="the value is not text: read it with CAST(column AS BLOB)",
    )


def _binding_count(error: Exception) -> BindingCountError:
    text = str(error).partition("  Current offset")[0].replace("  ", " ")
    text = re.sub(r"(uses \d+) and", r"\1, and", text)
    return BindingCountError(text if text.endswith((".", "!")) else f"{text}.")


def wait_for_other_thread(connection: Connection, error: Exception) -> None:
    """Sleep a little, longer each time, until the thread that uses the connection is done.

    Errors: DatabaseLockedError when that takes longer than the connection's timeout.
    """
    now = time.monotonic()
    waited = connection._thread_wait
    if waited is None or now - waited[1] > 1.0:
        waited = (now, now, _FIRST_WAIT_SECONDS)
    started, _last, pause = waited
    if now - started > max(connection._timeout_seconds, 60.0):
        connection._thread_wait = None
        raise DatabaseLockedError("another thread kept the connection busy") from error
    time.sleep(pause)
    connection._thread_wait = (
        started,
        time.monotonic(),
        min(pause * 2, _LONGEST_WAIT_SECONDS),
    )


def execute_elsewhere(cursor: Cursor, connection: Connection, sql: str, parameters: Any) -> None:
    """Run the statement on the kernel the connection moved to; this cursor's own is closed.

    The rows are kept in memory: this cursor has no statement any more to step through.
    """
    from dosql_dbapi.results import Held, described_columns

    other = connection.cursor()
    other.row_factory = None
    other._shape = None
    other.execute(sql, parameters)
    described = other.description
    columns = tuple([(column[0], None) for column in described or ()])
    cursor._described = Held(described_columns(columns, connection._detect_types), other.fetchall())
    cursor._rowcount = other.rowcount
    if other.lastrowid is not None:
        cursor._lastrowid = other.lastrowid
    other.close()
