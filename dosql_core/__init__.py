"""DoSQL's engine: an ordinary SQLite file that keeps every commit."""

from dosql_core.database import Database, open_database

__all__ = ["Database", "open_database"]
