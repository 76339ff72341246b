"""The SQL that Django writes: as for SQLite."""

from __future__ import annotations

from django.db.backends.sqlite3 import operations as sqlite


class DatabaseOperations(sqlite.DatabaseOperations):
    """Django's, for a SQLite of its own version."""

    def force_group_by(self) -> list[str]:
        """Nothing: only SQLite before 3.39 needed it, and Django asks the standard library's."""
        return []
