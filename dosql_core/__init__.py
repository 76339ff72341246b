"""DoSQL's engine: an ordinary SQLite file that keeps every commit."""

import dosql_core.supported_system  # noqa: F401 - before what only Linux can import
from dosql_core.database import Database, open_database

__all__ = ["Database", "open_database"]
