"""Where a database is: what programs pass as the first argument of `connect`."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit


def database_path(database: Any) -> str:
    """The path or URI as text; PathLike and bytes are accepted as in sqlite3.

    Errors: TypeError for anything else.
    """
    return os.fsdecode(os.fspath(database))


def is_in_memory(path: str, uri: bool) -> bool:
    """Whether the database is private and temporary, so that nothing of it outlives the process."""
    if path in ("", ":memory:"):
        return True
    if not uri or not path.startswith("file:"):
        return False
    name, query = _uri_parts(path)
    return name in ("", ":memory:") or "memory" in query.get("mode", ())


def shared_memory_uri(path: str, uri: bool) -> str | None:
    """The URI to open instead of one that asks for an in-memory database with a shared cache.

    The kernel's SQLite is built without shared caches and would give each connection a database of
    its own without a word. SQLite's memdb VFS shares one by name inside the process.
    """
    if not uri or not path.startswith("file:"):
        return None
    name, query = _uri_parts(path)
    if "shared" not in query.get("cache", ()):
        return None
    if name != ":memory:" and "memory" not in query.get("mode", ()):
        return None
    return f"file:/{quote(name.lstrip('/'))}?vfs=memdb"


def _uri_parts(path: str) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(path.removeprefix("file:"))
    return unquote(parts.path), parse_qs(parts.query)
