"""Which versions are at work: DoSQL's, SQLite's, Python's."""

from __future__ import annotations

import platform

import dosql_dbapi


def dosql_version() -> str:
    """The version of the installed distribution."""
    from importlib import metadata  # slow to import, and few runs ask

    try:
        return metadata.version("dosql")
    except metadata.PackageNotFoundError:
        return "not installed"


def sqlite_version() -> str:
    """The version of SQLite that runs the statements."""
    version: str = dosql_dbapi.sqlite_version
    return version


def version_line() -> str:
    """All of them on one line."""
    return (
        f"dosql {dosql_version()} (SQLite {sqlite_version()}, Python {platform.python_version()})"
    )
