"""Keeps names of the present from being found in the past that a connection has attached.

SQLite looks a name without a schema up in main and then in every attached database, so that a table
dropped since would be read, or refused to be written, in a view of the past. SQLite asks an
authorizer whenever it compiles a statement; this one refuses what strays into a view.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

from dosql_core.kernel.connection import run

SCHEMA_PREFIX = "_dosql_"
"""How the schemas of attached moments are called."""

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

# Those that look into every attached database when no schema is given.
_LOOK_EVERYWHERE = frozenset(
    (
        "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
        "foreign_key_list", "foreign_key_check", "integrity_check", "quick_check", "optimize",
    )
)  # fmt: skip
_READ_OR_WRITTEN = frozenset(
    (apsw.SQLITE_READ, apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE)
)
# What SQLite says first when a table is dropped, whatever that is called.
_SHOWN = {"sqlite_master": "the one to drop", "sqlite_temp_master": "the one to drop"}


class PastGuard:
    """The authorizer of one kernel connection; inside its `with` block the past may be read.

    Shape: `strayed` is the name that was looked for last and refused; `misses_a_table` tells
           whether without the past there would be no such table.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._program: Authorizer | None = None
        self._is_installed = False
        self._open = 0
        self._stored_by_virtual: dict[str, tuple[str, ...]] = {}  # of each view: how names begin
        self.strayed: str | None = None
        self.misses_a_table = False

    def __enter__(self) -> None:
        self._open += 1

    def __exit__(self, *_exception: object) -> None:
        self._open -= 1

    def set_program(self, authorizer: Authorizer | None) -> None:
        """Ask the program's authorizer, too, from now on."""
        self._program = authorizer
        # Set anew even when it is ours already: SQLite then compiles, and asks about, all again.
        self._connection.authorizer = self._authorize if self._is_installed else authorizer

    def watch(self, schema: str) -> None:
        """Stand before a view that has just been attached."""
        if not self._is_installed:
            self._is_installed = True
            self._connection.authorizer = self._authorize
        virtual = f"SELECT name FROM \"{schema}\".sqlite_schema WHERE type='table' AND rootpage=0"
        with self:
            rows = run(self._connection, virtual)
        self._stored_by_virtual[schema] = tuple(f"{name}_" for (name,) in rows)

    def forget(self, schema: str) -> None:
        """A view has been detached."""
        self._stored_by_virtual.pop(schema, None)

    def _authorize(
        self, action: int, first: str | None, second: str | None, schema: str | None, by: str | None
    ) -> int:
        if not self._open and self._strays(action, first, second, schema):
            return apsw.SQLITE_DENY
        if self._program is None:
            return apsw.SQLITE_OK
        return self._program(action, first, second, schema, by)

    def _strays(
        self, action: int, first: str | None, second: str | None, schema: str | None
    ) -> bool:
        if not self._stored_by_virtual:
            return False
        if action == apsw.SQLITE_PRAGMA:
            if schema is not None or first is None or first.lower() not in _LOOK_EVERYWHERE:
                return False
            self.strayed, self.misses_a_table = first, False
            return True
        if action == apsw.SQLITE_ALTER_TABLE:
            schema, first = first, second
        if schema is None or first is None or not schema.startswith(SCHEMA_PREFIX):
            return False
        if first.startswith(self._stored_by_virtual.get(schema, ())):
            return False  # a virtual table of that moment reads what it stores its rows in
        self.strayed, self.misses_a_table = _SHOWN.get(first, first), action in _READ_OR_WRITTEN
        return True
