"""The databases that are compared, opened at equal durability.

Each opener returns a connection in autocommit mode whose `execute(sql, parameters)` gives rows.
Durability names are DoSQL's. SQLite's own way to the same promise is WAL with `synchronous` FULL (a
returned commit survives power loss), NORMAL or OFF.

One process must never hold the same file open through two SQLite libraries; benchmarks give each
contender a file of its own. DoltLite replaces the process's SQLite, so it runs alone
(`measure.run_alone`) and is imported before anything that loads sqlite3.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

SYNCHRONOUS = {"full": "FULL", "strict": "FULL", "normal": "NORMAL", "off": "OFF"}
TIMEOUT_SECONDS = 60.0


def open_stdlib(path: Path, durability: str = "full") -> Any:
    """The standard library's sqlite3."""
    import sqlite3

    connection = sqlite3.connect(
        path, timeout=TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )
    _configure(connection, durability)
    return connection


def open_apsw(path: Path, durability: str = "full") -> Any:
    """Plain apsw: DoSQL's own SQLite without DoSQL."""
    import apsw

    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(int(TIMEOUT_SECONDS * 1000))
    _configure(connection, durability)
    return connection


def _configure(connection: Any, durability: str) -> None:
    connection.execute("pragma journal_mode=wal").fetchall()
    connection.execute(f"pragma synchronous={SYNCHRONOUS[durability]}").fetchall()


def open_dosql(path: Path, durability: str = "full", **options: Any) -> Any:
    """DoSQL: history on and changes off unless said otherwise."""
    import dosql_dbapi

    return dosql_dbapi.connect(
        path,
        timeout=TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        durability=durability,
        **options,
    )


def open_doltlite(path: Path, durability: str = "full") -> Any:
    """DoltLite, through the standard library's module, in a process where nothing loaded it yet.

    It keeps its pages in a store of its own, so `synchronous` is asked for and may mean less.
    """
    importlib.import_module("doltlite")  # the SQLite library that the next import loads
    import sqlite3

    connection = sqlite3.connect(path, timeout=TIMEOUT_SECONDS, isolation_level=None)
    connection.execute(f"pragma synchronous={SYNCHRONOUS[durability]}").fetchall()
    return connection


def has_doltlite() -> bool:
    return importlib.util.find_spec("doltlite") is not None


OPENERS = {"sqlite3": open_stdlib, "apsw": open_apsw, "dosql": open_dosql}
