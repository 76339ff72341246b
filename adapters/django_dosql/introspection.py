"""What tables and columns there are: as Django reads it from SQLite."""

from __future__ import annotations

from django.db.backends.sqlite3 import introspection as sqlite


class DatabaseIntrospection(sqlite.DatabaseIntrospection):
    """Nothing differs: a head is a SQLite database."""
