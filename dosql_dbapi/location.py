"""Where a database is: what programs pass as the first argument of `connect`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from dosql_core.errors import CannotOpenError, NotSupportedError, OperationalError
from dosql_core.history.refs import directory_of

# What SQLite would do with these takes the WAL, its locks or its syncs away from history.
_AGAINST_HISTORY = ("nolock", "psow", "vfs")
_TRUE = ("1", "yes", "true", "on")  # as SQLite reads a parameter of a URI


@dataclass(frozen=True, slots=True)
class Location:
    """A database to open.

    Shape: `path` is a path, or a URI when `is_uri`. Where it says None, the caller decides.
    """

    path: str
    is_uri: bool = False
    is_in_memory: bool = False
    read_only: bool | None = None
    create: bool | None = None
    branch: str | None = None
    as_of: str | None = None


def locate(database: Any, *, uri: bool, history: bool) -> Location:
    """What and where to open; `uri` says that a text beginning with `file:` is a URI.

    Errors: TypeError when `database` is no path; NotSupportedError for a URI that asks SQLite for
            what would lose history; OperationalError for an access mode that does not exist, or
            the name of another machine; NoHistoryError for a branch or a moment without history.
    """
    path = os.fsdecode(os.fspath(database))
    _require_utf8(path)
    if path in ("", ":memory:"):
        return Location(path, is_uri=uri, is_in_memory=True)  # ATTACH may name a URI
    if not uri or not path.startswith("file:"):
        return Location(path, is_uri=uri and not history)  # as above
    name, query = uri_parts(path)
    _require_utf8(name)
    mode = query.get("mode")
    if mode not in (None, "ro", "rw", "rwc", "memory"):
        raise OperationalError(
            f"no such access mode: {mode}", hint="mode= is one of ro, rw, rwc and memory"
        )
    if mode == "memory" or name in ("", ":memory:"):
        if query.get("cache") == "shared":
            return Location(shared_memory_uri(name), is_uri=True, is_in_memory=True)
        return Location(path, is_uri=True, is_in_memory=True)
    if query.get("vfs") == "memdb":
        return Location(path, is_uri=True, is_in_memory=True)
    branch, as_of = query.get("branch"), query.get("as_of")
    if not history:
        return Location(path, is_uri=True, branch=branch, as_of=as_of)
    for parameter in _AGAINST_HISTORY:
        if parameter in query:
            raise NotSupportedError(
                f"{parameter}= in the URI of a database with history",
                hint="leave it away, or connect with history=False",
            )
    only_reads = mode == "ro" or is_immutable(query)
    if only_reads and not has_history(name):
        # To be looked at, and no more: whose it is did not ask for a history beside it.
        return Location(path, is_uri=True, branch=branch, as_of=as_of)
    # SQLite reads nothing but the file when it is immutable. The newest commits of a head may be in
    # its WAL, so one with history is read as any other: that the file will not change is a hint.
    return Location(
        name,
        read_only=True if only_reads else None,
        create=False if mode in ("ro", "rw") else None,
        branch=branch,
        as_of=as_of,
    )


def is_immutable(query: dict[str, str]) -> bool:
    """Whether a URI's parameters say that nobody changes the file."""
    return query.get("immutable", "").lower() in _TRUE


def has_history(path: str) -> bool:
    """Whether the database file at `path` has its history beside it."""
    return os.path.isdir(directory_of(os.path.realpath(path)))


def _require_utf8(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise CannotOpenError(
            f"unable to open database file: the bytes of {path!r} are not UTF-8",
            hint="rename the file; the kernel takes paths that are UTF-8",
        ) from None


def shared_memory_uri(name: str) -> str:
    """The URI to open instead of one that asks for an in-memory database with a shared cache.

    The kernel's SQLite is built without shared caches and would give each connection a database of
    its own without a word. SQLite's memdb VFS shares one by name inside the process.
    """
    return f"file:/{quote(name.lstrip('/'))}?vfs=memdb"


def uri_parts(uri: str) -> tuple[str, dict[str, str]]:
    """Path and parameters of a `file:` URI, by SQLite's rules."""
    rest = uri.removeprefix("file:").partition("#")[0]
    path, _, query = rest.partition("?")
    if path.startswith("//"):  # an authority: empty or localhost
        authority, _, path = path[2:].partition("/")
        if authority not in ("", "localhost"):
            raise OperationalError(
                f"invalid uri authority: {authority}",
                hint="a path with a root has three slashes: file:///var/app.db",
            )
        path = "/" + path
    return os.fsdecode(unquote_to_bytes(path)), dict(parse_qsl(query, keep_blank_values=True))
