"""Functions of the module that need no connection."""

from __future__ import annotations

import warnings

from dosql_core.kernel.sqlite_library import is_complete_sql


def complete_statement(statement: str) -> bool:
    """Whether the text ends with a complete statement, for programs that read SQL line by line."""
    return is_complete_sql(statement)


def enable_shared_cache(do_enable: int) -> None:
    """Does nothing: the kernel's SQLite has no shared cache (deprecated in sqlite3 as well)."""
    warnings.warn(
        "enable_shared_cache is deprecated: this SQLite is built without shared caches",
        DeprecationWarning,
        stacklevel=2,
    )
