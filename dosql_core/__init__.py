"""DoSQL's engine: an ordinary SQLite file that keeps every commit."""

import sys

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"DoSQL runs on Linux, and this is {sys.platform}: it needs locks and a view of SQLite's "
        "shared memory that other systems do not have; a container or WSL will do"
    )

from dosql_core.database import Database, open_database

__all__ = ["Database", "open_database"]
