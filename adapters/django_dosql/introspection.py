"""What tables and columns there are: as Django reads it from SQLite."""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import introspection as sqlite


class DatabaseIntrospection(sqlite.DatabaseIntrospection):
    """A head is a SQLite database, with one table more in which descriptions of commits wait."""

    def get_table_list(self, cursor: Any) -> list[Any]:
        """The tables and views of the program."""
        tables = super().get_table_list(cursor)
        return [table for table in tables if not table.name.startswith("sqlite_dosql_")]
