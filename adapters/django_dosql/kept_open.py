"""Database files stay open for as long as the process runs, while connections come and go.

Django closes its connection after every request unless CONN_MAX_AGE says otherwise. The last
connection to a file settles its history and closes the file: 3 ms that a request need not pay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import Any

import dosql_dbapi

_OF_ONE_CONNECTION = ("branch", "as_of", "detect_types", "read_only")

_File = tuple[int, int] | None  # device and inode

_kept: dict[str, tuple[_File, dosql_dbapi.Connection]] = {}
_lock = Lock()


def keep_open(parameters: Mapping[str, Any]) -> None:
    """Hold a database file open, which a connection with these parameters has been opened to."""
    path = os.path.realpath(os.fspath(parameters["database"]))
    if not parameters.get("history", True) or not os.path.isfile(path):
        return  # in memory, a URI, or SQLite as it is
    with _lock:
        if path not in _kept:
            own = {name: parameters[name] for name in parameters if name not in _OF_ONE_CONNECTION}
            _kept[path] = _file(path), dosql_dbapi.connect(**own)


def let_go_of_replaced(path: str | os.PathLike[str]) -> None:
    """Let go of a file that somebody removed or replaced since."""
    real_path = os.path.realpath(os.fspath(path))
    kept = _kept.get(real_path)
    if kept is not None and _file(real_path) != kept[0]:
        let_go(real_path)


def let_go(path: str | os.PathLike[str]) -> None:
    """Do not hold a database file open any more."""
    with _lock:
        kept = _kept.pop(os.path.realpath(os.fspath(path)), None)
    if kept is not None:
        kept[1].close()


def let_go_of_all() -> None:
    """Do not hold any file open any more."""
    for path in list(_kept):
        let_go(path)


def _file(path: str) -> _File:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _leave_to_parent() -> None:
    """After fork(): what is open belongs to the parent, and its threads may hold the lock."""
    global _lock
    _lock = Lock()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
