"""PEP 249's classes: the tree in which every error of DoSQL has its place.

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
