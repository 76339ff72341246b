"""The connection and its cursors: calls that cannot be answered as they were made."""

from __future__ import annotations

from dosql_core.errors.pep_249 import Category, NotSupportedError, ProgrammingError


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
