"""Makes `sqlite3` mean dosql_dbapi in every process that has this folder on its PYTHONPATH.

The interpreter imports it at its start, before any program can have imported sqlite3. That module's
own command line is still to be had, as a program written for sqlite3 like any other.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import dosql_dbapi
import dosql_dbapi.dbapi2

_STOCK_FOLDER = Path(sqlite3.__file__).parent


class _StockCommandLine:
    """Finds `sqlite3.__main__` where the standard library keeps it; it then imports our sqlite3."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "sqlite3.__main__":
            return None
        return importlib.util.spec_from_file_location(name, _STOCK_FOLDER / "__main__.py")


sys.modules["sqlite3"] = dosql_dbapi
sys.modules["sqlite3.dbapi2"] = dosql_dbapi.dbapi2
sys.meta_path.insert(0, _StockCommandLine)
