"""DoSQL for programs: PEP 249, and everything the standard library's sqlite3 module offers."""

from __future__ import annotations

import warnings
from typing import Any

from dosql_core.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from dosql_core.history.moments import as_of_clause
from dosql_core.kernel.sqlite_library import CONSTANTS as _CONSTANTS
from dosql_core.kernel.sqlite_library import SQLITE_VERSION as sqlite_version
from dosql_core.options import Retention
from dosql_dbapi.adaptation import PrepareProtocol, adapt, adapters, register_adapter
from dosql_dbapi.blob import Blob
from dosql_dbapi.connection import Connection, connect
from dosql_dbapi.connection_transactions import LEGACY_TRANSACTION_CONTROL
from dosql_dbapi.conversion import (
    PARSE_COLNAMES,
    PARSE_DECLTYPES,
    converters,
    register_converter,
)
from dosql_dbapi.cursor import Cursor
from dosql_dbapi.module_functions import complete_statement, enable_shared_cache
from dosql_dbapi.row import Row
from dosql_dbapi.type_objects import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)
from dosql_dbapi.user_functions import enable_callback_tracebacks

apilevel = "2.0"
paramstyle = "qmark"
threadsafety = 3
sqlite_version_info = tuple(int(part) for part in sqlite_version.split("."))

globals().update(_CONSTANTS)

_DEPRECATED = {"version": "2.6.0", "version_info": (2, 6, 0), "OptimizedUnicode": str}


def __getattr__(name: str) -> Any:
    """Names that sqlite3 deprecated: the version of its interface, an alias of str."""
    if name in _DEPRECATED:
        warnings.warn(
            f"{name} is deprecated and will be removed in Python 3.14, as sqlite3's is",
            DeprecationWarning,
            stacklevel=2,
        )
        return _DEPRECATED[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BINARY",
    "DATETIME",
    "LEGACY_TRANSACTION_CONTROL",
    "NUMBER",
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
    "ROWID",
    "STRING",
    "Binary",
    "Blob",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "PrepareProtocol",
    "ProgrammingError",
    "Retention",
    "Row",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "adapt",
    "adapters",
    "apilevel",
    "as_of_clause",
    "complete_statement",
    "connect",
    "converters",
    "enable_callback_tracebacks",
    "enable_shared_cache",
    "paramstyle",
    "register_adapter",
    "register_converter",
    "sqlite_version",
    "sqlite_version_info",
    "threadsafety",
    *_CONSTANTS,
]
