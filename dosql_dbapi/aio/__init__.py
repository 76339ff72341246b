"""DoSQL for coroutines: the interface of aiosqlite, and what DoSQL adds to sqlite3's."""

from __future__ import annotations

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
from dosql_core.kernel.sqlite_library import SQLITE_VERSION as sqlite_version
from dosql_dbapi.adaptation import register_adapter
from dosql_dbapi.aio.connection import Connection, connect
from dosql_dbapi.aio.cursor import Cursor
from dosql_dbapi.conversion import PARSE_COLNAMES, PARSE_DECLTYPES, register_converter
from dosql_dbapi.row import Row
from dosql_dbapi.type_objects import Binary

apilevel = "2.0"
paramstyle = "qmark"
threadsafety = 1  # threads may share the module; a connection belongs to its event loops
sqlite_version_info = tuple(int(part) for part in sqlite_version.split("."))

__all__ = [
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Row",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "register_adapter",
    "register_converter",
    "sqlite_version",
    "sqlite_version_info",
    "threadsafety",
]
