"""What ATTACH opens: the same as `connect` would, whatever database is attached to.

SQLite opens an attached file through the VFS of the main database. A shared in-memory database has
the VFS memdb, through which any path would be one more database in memory, lost at the end; so a
file is attached to one by a URI that names the VFS of the disk.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote

from dosql_core.errors import NotSupportedError
from dosql_core.kernel.connection import DISK_VFS, KernelConnection
from dosql_dbapi.location import has_history, is_immutable, shared_memory_uri, uri_parts

_ATTACH = re.compile(
    r"""\battach\s+(?:database\s+)?
    (?:(?P<quote>['"])(?P<text>(?:(?!(?P=quote)).|(?P=quote){2})*)(?P=quote)
    |\?(?P<number>\d*)|[:@$](?P<name>\w+))""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def attached_as_opened(kernel: KernelConnection, sql: str, parameters: Any) -> tuple[str, Any]:
    """An ATTACH and its parameters where its path means what it does to `connect`.

    Errors: NotSupportedError when a shared in-memory database attaches what an expression computes.
    """
    is_in_shared_memory = (kernel.vfsname("main") or "").startswith("memdb")
    found = _ATTACH.search(sql)
    if found is None:
        if is_in_shared_memory:
            raise NotSupportedError(
                "ATTACH of a computed path to a shared in-memory database",
                hint="pass the path as text or as a parameter",
            )
        return sql, parameters
    if found["quote"]:
        mark = found["quote"]
        opened = _as_opened(found["text"].replace(mark * 2, mark), is_in_shared_memory)
        quoted = mark + opened.replace(mark, mark * 2) + mark
        return sql[: found.start("quote")] + quoted + sql[found.end() :], parameters
    key = found["name"] if isinstance(parameters, dict) else int(found["number"] or 1) - 1
    return sql, _with_path(parameters, key, is_in_shared_memory)


def _with_path(parameters: Any, key: Any, is_in_shared_memory: bool) -> Any:
    """The parameters, the path at `key` as it is to be attached."""
    if isinstance(parameters, dict):
        path = parameters.get(key)
    elif isinstance(parameters, (tuple, list)):
        path = parameters[key] if key < len(parameters) else None
    else:
        path = None
    if not isinstance(path, str):
        return parameters  # it is up to SQLite what to say
    opened = _as_opened(path, is_in_shared_memory)
    if isinstance(parameters, dict):
        return {**parameters, key: opened}
    return (*parameters[:key], opened, *parameters[key + 1 :])


def _as_opened(path: str, is_in_shared_memory: bool) -> str:
    if path in ("", ":memory:"):
        return path
    if not path.startswith("file:"):
        return f"file:{quote(path)}?vfs={DISK_VFS}" if is_in_shared_memory else path
    name, query = uri_parts(path)
    if query.get("mode") == "memory" or name in ("", ":memory:"):
        return shared_memory_uri(name) if query.get("cache") == "shared" else path
    if is_immutable(query) and has_history(name) and _has_wal(name):
        path = f"file:{quote(name)}?mode=ro"
    if is_in_shared_memory and "vfs" not in query:
        path = path.partition("#")[0]
        path += f"{'&' if '?' in path else '?'}vfs={DISK_VFS}"
    return path


def _has_wal(path: str) -> bool:
    """Whether the newest commits may be where SQLite does not look when the file is immutable."""
    try:
        return os.path.getsize(os.path.realpath(path) + "-wal") > 0
    except OSError:
        return False
