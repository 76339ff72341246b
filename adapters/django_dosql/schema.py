"""Changes of the schema: as Django makes them in SQLite."""

from __future__ import annotations

from django.db.backends.sqlite3 import schema as sqlite


class DatabaseSchemaEditor(sqlite.DatabaseSchemaEditor):
    """Nothing differs: SQLite rolls back changes of the schema, and history follows them."""
